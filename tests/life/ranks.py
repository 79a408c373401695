"""What ranks, their agent and a converter do in the world: save, stop when told, load what fits.

The volume holds the newest checkpoint: the ranks that wrote it, and whether it was converted.
"""

from json import loads

STOP, CONVERSION, ATTEMPT = "preamar.dev/stop", "preamar.dev/conversion", "preamar.dev/attempt"
SCOUT = "preamar.dev/scout"
BATCH = 16


class Ranks:
    """``steps_left`` until the job is trained. ``sabotage`` spoils every resize in one way."""

    def __init__(self, steps):
        self.steps = self.steps_left = steps
        self.volume = None  # step, ranks that wrote it, converted
        self.reachable = True  # rank 0's agent
        self.sabotage = ""  # "", "gate" or "conversion"
        self.resumed = {}  # attempt -> what its gate saw
        self.trained = set()  # sizes at which an attempt took a step

    @property
    def step(self):
        return self.steps - max(0, self.steps_left)

    def words(self, outcome, job, **more):
        saved = self.volume and {"step": self.volume[0], "worldSize": self.volume[1]}
        return {
            "outcome": outcome,
            "step": self.step,
            "consumed": self.step * BATCH,
            "checkpoint": saved,
            "resumed": self.resumed.get(job["metadata"]["labels"][ATTEMPT]),
            **more,
        }

    def load(self, job):
        """Why these ranks cannot go on from what the volume holds; None if they can."""
        size = job["spec"]["completions"]
        if self.volume is None or self.volume[1] == size:
            return None
        if not self.volume[2]:
            return self.words("Failed", job, **{"class": "NotConverted", "explanation": "not yet"})
        if self.sabotage == "gate":
            kind = {"class": "ContinuityBroken", "explanation": "as sabotaged"}
            return self.words("Failed", job, **kind)
        self.resumed[job["metadata"]["labels"][ATTEMPT]] = {
            "step": self.volume[0],
            "from": self.volume[1],
            "tensors": 60,
            "lossDelta": "0.0",
            "pauseSeconds": "3.0",
        }
        return None

    def stop(self, job):
        """Saves at the size it has; the first words of a gang are those of all."""
        self.volume = (self.step, job["spec"]["completions"], False)
        return self.words("Stopped", job)

    def told(self, job):
        """Whether rank 0's agent was told to stop, which the operator does once its Job shows it."""
        return STOP in job["metadata"].get("annotations", {}) and self.reachable

    def heard(self, job, now):
        """What the operator hears of its order: whether it was taken, seconds it was tried."""
        from preamar.core.timestamps import moment

        text = job["metadata"].get("annotations", {}).get(STOP)
        if text is None:
            return None
        return self.reachable, (now - moment(loads(text)["at"])).total_seconds()

    def convert(self):
        """The exit code and last words of a converter."""
        if self.volume is None or self.sabotage == "conversion":
            return 64, {"outcome": "Failed", "class": "NotConverted", "explanation": "as sabotaged"}
        self.volume = (*self.volume[:2], True)
        return 0, {"outcome": "Converted", "step": self.volume[0]}
