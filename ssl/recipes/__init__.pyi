from .mcl import MCL as MCL
