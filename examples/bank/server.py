"""A bank that makes account objects and gives its clients proxies of them."""

from bank import BankError, NotEnoughMoney

import gpyro.core


class Account(gpyro.core.SynchronizedObjBase):
    """Calls of one account never overlap, so its amount is safe."""

    def __init__(self, owner):
        gpyro.core.SynchronizedObjBase.__init__(self)
        self.owner = owner
        self.amount = 0

    def deposit(self, amount):
        self.amount += amount

    def withdraw(self, amount):
        if amount > self.amount:
            raise NotEnoughMoney(self.owner, amount - self.amount)
        self.amount -= amount

    def balance(self):
        return self.amount


class Statement(gpyro.core.ObjBase):
    """What a client reads, and then forgets."""

    def __init__(self, lines):
        gpyro.core.ObjBase.__init__(self)
        self.lines = lines

    def line(self, number):
        return self.lines[number]

    def _gotReaped(self):
        print("a statement that nobody reads is gone", flush=True)


class Bank(gpyro.core.ObjBase):
    def __init__(self):
        gpyro.core.ObjBase.__init__(self)
        self.accounts = {}

    def open(self, owner):
        if owner in self.accounts:
            raise BankError(f"{owner} has an account")
        account = self.accounts[owner] = Account(owner)
        # It needs no name: the client gets a proxy. One with a name is not cleaned up when nobody calls it.
        self.getDaemon().connect(account, "account of " + owner)
        return account.getProxy()

    def close(self, owner):
        self.getDaemon().disconnect(self.accounts.pop(owner))

    def statement(self):
        statement = Statement([f"{owner}: {self.accounts[owner].amount}" for owner in sorted(self.accounts)])
        self.getDaemon().connect(statement)
        return statement.getProxy()

    def transfer(self, amount, source, target):
        # The arguments are proxies, and stand for objects of this very daemon.
        source.withdraw(amount)
        target.deposit(amount)


gpyro.core.initServer()
daemon = gpyro.core.Daemon()
daemon.setTransientsCleanupAge(1)
print(daemon.connect(Bank(), "bank"), flush=True)
try:
    daemon.requestLoop()
except KeyboardInterrupt:
    pass
finally:
    daemon.shutdown(True)
