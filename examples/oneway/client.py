"""Leaves a film at the darkroom and asks for the pictures later."""

import time

import gpyro.core

gpyro.core.initClient()
darkroom = gpyro.core.getProxyForURI("PYROLOC://localhost/darkroom")
darkroom._setOneway("develop")

print("left the film, got", darkroom.develop("holiday"))
pictures = darkroom.ready()
print("first look:", len(pictures), "pictures")
while len(pictures) < 3:
    time.sleep(0.02)
    pictures = darkroom.ready()
print("all there:", ", ".join(pictures))
