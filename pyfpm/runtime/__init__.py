"""What runs inside the pool's own interpreter: the zygote, its workers, and the engine in them.

Standard library only: this package is imported by other people's Pythons, through the folder of
the master's package (see messages.bootstrap). The master never imports it.
"""
