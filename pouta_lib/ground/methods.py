"""What the methods are called, and which of them the paper compares."""

METHODS = {  # run variant: the paper's name, in the order of the rows
    "pouta": "POUTA",
    "vanilla": "Vanilla",
    "patchcore": "PatchCore",
    "draem": "DRAEM",
    "base": "POUTA-base",
    "base+hsg": "POUTA-base+HSG",
    "base+mss": "POUTA-base+MSS",
}
COMPARED = ("pouta", "vanilla", "patchcore")  # measured rows of Tables I to III
