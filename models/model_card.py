"""The limits of the default closed forms, in sentences; stored inside the artifact."""

_PARAGRAPHS = """
Purpose: expected impact and information move of one order from volatility, daily volume and size, where no learned
model answers. Every answer is labelled as fallback.

Data: aggressive orders of one spot pair on one exchange over 24.3 hours in July 2024; published parameters for the
rest. No request for quotes and no block trade is among the data.

Sizes: 98 % of the measured orders are under 0.1 % of daily volume, the largest is 2.6 %. Larger sizes extrapolate a
power law; the published laws hold up to about 10 % of daily volume.

Horizons: measured at 1, 10, 60 and 300 s; longer ones are answered as 300 s. Out of sample the curve beats a constant
at 1, 10 and 60 s; at 300 s the interval of its gain contains zero.

Calibration: out of sample the slopes of realised on predicted moves lie below 1 (the report has them): on the later
part of the day the predictions for large orders were too high.

Transfer: on six other instruments, never fitted, sizes in units of daily volume and moves in units of volatility
carry the curve to within a factor of 2.4 at 10 s, each time too low; with depth or half-spread as the unit it misses
by factors from 5 to 500. The unit was chosen by this very comparison, one of three (and the form of the curve after a
look at the whole recording), so that neither check is an untouched test; none has been made. The mean of these
factors is not corrected, because those recordings last 6 to 11 minutes; it counts as uncertainty, so that an
instrument without a calibration of its own gets a wide amplitude (the artifact's amplitude_spread). For the
calibrated one the spread is what the later part of the day differed from the fit at 1, 10 and 60 s; 300 s is left
out, where noise swamps the slope.

Information: an aggressive order's markout contains its own impact and the autocorrelation of order flow. It stands in
for the move after a request, which no public data shows.

Market noise is volatility times the square root of time. Around aggressive orders, which come in busy seconds, the
moves scattered 4.2 times as much at 1 s and 1.6 times at 10 s, and as much at 60 s.

Almgren 2005 was fitted on US equities. The ratio of outstanding to daily traded amount is assumed for crypto. At more
than the whole market's volume (participation above 1) the temporary part is an extrapolation, far above what walking
a visible book costs: there the cap below replaces it.

Square root: the prefactor comes from metaorders put together from public orders given at random to 2, 5, 10, 20 or 50
synthetic traders; nothing on the tape says how many there were. It falls with their number (the report has all five),
so all count alike and their spread is the error.

Which of the two impact laws holds is one more unknown parameter: half of the draws follow each.

Cap: no duration's temporary cost exceeds what taking the visible book at once costs beyond the half-spread. Realised
cost, which adds half the permanent impact, may still exceed the price of a sweep by that half. The book is that of one
moment and one venue: orders may be withdrawn before they are reached, hidden ones are not seen, and beyond the visible
levels their mean density is assumed to go on. How well the cap foretells the cost of short schedules is not measured.
"""
MODEL_CARD = tuple(" ".join(paragraph.split()) for paragraph in _PARAGRAPHS.strip().split("\n\n"))
