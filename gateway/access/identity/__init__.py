"""How the credentials of each identity kind are verified, one file each. Pure."""
