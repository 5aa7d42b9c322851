"""The scripted model: a small real server of the Messages API that answers by script. No key, no model, no network."""

from outrider.models.scripted.builtin import BUILTIN as BUILTIN
from outrider.models.scripted.control import Control as Control
from outrider.models.scripted.control import Kept as Kept
from outrider.models.scripted.script import Answer as Answer
from outrider.models.scripted.script import Barrier as Barrier
from outrider.models.scripted.script import Cut as Cut
from outrider.models.scripted.script import ErrorEvent as ErrorEvent
from outrider.models.scripted.script import HttpError as HttpError
from outrider.models.scripted.script import Pause as Pause
from outrider.models.scripted.script import Raw as Raw
from outrider.models.scripted.script import Redacted as Redacted
from outrider.models.scripted.script import Request as Request
from outrider.models.scripted.script import Script as Script
from outrider.models.scripted.script import Text as Text
from outrider.models.scripted.script import Thinking as Thinking
from outrider.models.scripted.script import ToolUse as ToolUse
from outrider.models.scripted.script import Turn as Turn
from outrider.models.scripted.script import Unexpected as Unexpected
from outrider.models.scripted.script import Usage as Usage
from outrider.models.scripted.script import by_turn as by_turn
from outrider.models.scripted.script import in_order as in_order
from outrider.models.scripted.serving import ScriptedServer as ScriptedServer
from outrider.models.scripted.serving import running as running
from outrider.models.scripted.serving import serve_on as serve_on
