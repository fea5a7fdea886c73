"""`skpay demo`: the whole product on loopback, with a sample app, fake vendors and the real Traefik."""
