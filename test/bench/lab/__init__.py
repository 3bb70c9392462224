"""A laboratory: real ejabberds, ECMs, proxies and swarms of clients on one machine, and what they cost.

with Lab(folder, Built.find(None, None)) as lab:
    ejabberd = Ejabberd(lab, users=1000).ready()
    ecm = Ecm(lab, ejabberd)
    swarm = Swarm(lab, "websocket", ecm, users=1000, rate=400)
    swarm.all_online()
    print(ejabberd.resident(), ejabberd.memory()["total"], ecm.cpu_seconds())

Leaving the laboratory ends all of it.
"""
