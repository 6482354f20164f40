"""The operator's settings: name, default, help. Flag over environment over default."""

from dataclasses import dataclass, field
from datetime import timedelta

from holdfast.model.admission import Rule
from holdfast.model.intent import LABEL


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the operator is told at start. `metadata["help"]` documents each one; the reference is made from it."""

    namespace: str = field(default="holdfast", metadata={"help": "the namespace that holds Holdfast and its secrets"})
    label: str = field(default=LABEL, metadata={"help": "the label key that protects a claim or a namespace"})
    by_name: tuple[str, ...] = field(
        default=(),
        metadata={"help": "storage classes whose provisioner ignores dataSourceRef: their claims are held by name"},
    )
    image: str = field(default="holdfast", metadata={"help": "the image of movers and readers"})
    first_backup_after: timedelta = field(
        default=timedelta(hours=2),
        metadata={"help": "how old a claim that started empty must be before its first backup"},
    )
    concurrent_backups: int = field(default=4, metadata={"help": "backups running at once, over all repositories"})
    concurrent_restores: int = field(default=4, metadata={"help": "restores running at once, over all repositories"})
    start_deadline: timedelta = field(
        default=timedelta(minutes=5), metadata={"help": "how long a mover's pod may take to start"}
    )
    keep_fill: timedelta = field(
        default=timedelta(days=1),
        metadata={"help": "how long a filled volume is kept for a claim that was deleted meanwhile"},
    )

    @property
    def rule(self) -> Rule:
        """Return what the admission rule depends on."""
        return Rule(own_namespace=self.namespace, label=self.label, by_name=self.by_name)
