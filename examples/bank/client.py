"""Opens accounts, moves money, and sees what the bank refuses."""

from bank import BankError, NotEnoughMoney

import gpyro.core
import gpyro.errors
import gpyro.util

gpyro.core.initClient()
bank = gpyro.core.getProxyForURI("PYROLOC://localhost/bank")

ann, bob = bank.open("ann"), bank.open("bob")
ann.deposit(100)
bank.transfer(30, ann, bob)
print("ann has", ann.balance(), "and bob has", bob.balance())

try:
    bank.transfer(50, bob, ann)
except NotEnoughMoney as error:
    print("refused:", error, "- missing", error.missing)
    where = gpyro.util.getPyroTraceback(error)
    print("raised in", "withdraw" if any("in withdraw" in line for line in where) else "?", "on the server")

try:
    bank.open("ann")
except BankError as error:
    print("refused:", error)

print("the statement begins with", bank.statement().line(0))

bank.close("ann")
bank.close("bob")
try:
    ann.balance()
except gpyro.errors.ProtocolError:
    print("the account is closed")
