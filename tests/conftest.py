"""What all tests share: the mode they run in, so that times and sums do not depend on the machine."""

import modes

modes.apply()
