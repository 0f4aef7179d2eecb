"""Closed-form impact laws: the labelled fallback, and the bar that every learned model has to beat.

Impact is in bps of mid and positive against the trader. ``volatility_bps`` is per square root of a day, ``size_ratio``
is the order's notional over the notional traded in a day (X/V), durations are in days. Every parameter may be an array
of draws; arrays broadcast as numpy does. Zero size gives zero impact, and impact never falls with size.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

type FloatArray = NDArray[np.float64]
