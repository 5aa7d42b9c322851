"""The seams of Outrider as Protocols and the plain values that cross them. No I/O and no implementation lives here."""
