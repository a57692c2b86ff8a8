"""The event server. Without a name server: who knows host and port finds it, too."""

from gpyro.eventsvc import EventServiceStarter

EventServiceStarter().start(useNameServer=0)
