# The parts of waitress 3 that pyfpm uses; it ships no types of its own.
