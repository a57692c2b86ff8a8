"""What both sides of the bank know: its exceptions."""

import gpyro


@gpyro.register_class
class BankError(Exception):
    """The bank does not do what it was asked for."""


@gpyro.register_class
class NotEnoughMoney(BankError):
    """Tells how much is missing."""

    def __init__(self, owner, missing):
        BankError.__init__(self, f"{owner} is short of {missing}")
        self.missing = missing
