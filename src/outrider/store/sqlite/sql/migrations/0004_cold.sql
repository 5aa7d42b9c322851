-- A cold log's rows lie in the blob store; `segment` says where (JSON), NULL that they are here.

ALTER TABLE heads ADD COLUMN segment TEXT;
