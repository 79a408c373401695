"""How surprised is the model? Mean negative log-likelihood per token, in nats."""

from torch import Tensor
from torch.nn import functional as F

from preamar_train.models.slices import Slices


def losses_of(logits: Tensor, targets: Tensor, slices: Slices) -> Tensor:
    """The loss of each row [B], from logits [B, T, V / slices] and targets [B, T].

    Slices share the vocabulary: each has the logarithm's terms of its own tokens."""
    if slices.count == 1:
        losses = F.cross_entropy(logits.float().transpose(1, 2), targets, reduction="none")
        return losses.mean(dim=1)
    wide = logits.float()
    most = slices.most(wide.amax(dim=-1, keepdim=True))
    wide = wide - most
    norm = slices.sum(wide.exp().sum(dim=-1)).log()
    tokens = wide.shape[-1]
    places = targets - slices.index * tokens
    here = (places >= 0) & (places < tokens)
    own = wide.gather(-1, places.where(here, 0)[..., None])[..., 0] * here
    return (norm - slices.sum(own)).mean(dim=1)
