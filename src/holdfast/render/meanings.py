"""What each reason, flag and state means, in one sentence. A test holds these tables complete."""

from collections.abc import Mapping
from typing import Final

from holdfast.model.admission import Unarmed
from holdfast.model.evidence import Doubt
from holdfast.model.failure import FailureKind
from holdfast.model.population import Pause
from holdfast.model.protection import Health
from holdfast.model.snapshot import Flag
from holdfast.model.verdict import Hold

FAILURES: Final[Mapping[FailureKind, str]] = {
    FailureKind.UNREACHABLE: "The storage refused, broke off or answered that it is unavailable.",
    FailureKind.TIMEOUT: "No answer, or no progress, within the deadline.",
    FailureKind.FORBIDDEN: "The storage refused the keys, or the rights to a directory are missing.",
    FailureKind.MISDIRECTED: "What answers is not the storage: another server, a redirect, a bucket that is not there.",
    FailureKind.CLOCK_SKEW: "The storage's clock and this one differ too much for signed requests.",
    FailureKind.STORAGE_MISSING: "The repository's directory is not there.",
    FailureKind.NO_MARKER: "The storage answered well, and Holdfast's marker is not in it.",
    FailureKind.BAD_MARKER: "The marker cannot be read, or is of a later version.",
    FailureKind.WRONG_PASSWORD: "The password does not open this repository.",
    FailureKind.NO_REPOSITORY: "The marker is there, the engine's repository is not.",
    FailureKind.REPLACED: "The engine opened another repository than the marker or the record names.",
    FailureKind.DAMAGED: "The repository cannot be read whole.",
    FailureKind.PARTIAL_LISTING: "The engine listed, but complained or left out what a healthy repository shows.",
    FailureKind.BAD_RECORD: "Holdfast's own record of a claim's backups cannot be read or was altered.",
    FailureKind.LOCKED: "Something else works on the same history or repository.",
    FailureKind.SNAPSHOT_MISSING: "The snapshot is not in the repository.",
    FailureKind.PATH_MISSING: "There is no such path in the snapshot.",
    FailureKind.NODE_NOT_KNOWN: "The volume is a directory of a node, and nothing says of which.",
    FailureKind.NOT_ADMITTED: "The cluster refuses an object that the run takes: by quota, policy or a missing right.",
    FailureKind.NO_VOLUME_SNAPSHOT: "The cluster made no VolumeSnapshot of the claim to read.",
    FailureKind.SOURCE_UNREADABLE: "The volume's root directory cannot be read.",
    FailureKind.REPOSITORY_FULL: "The repository's storage is full.",
    FailureKind.TARGET_FULL: "The volume is too small for what is restored.",
    FailureKind.MISMATCH: "What was written differs in files or bytes from what the snapshot holds.",
    FailureKind.NOT_EMPTY: "Something is where nothing must be: a repository to create, a volume to fill.",
    FailureKind.CANCELED: "The run was stopped or killed.",
    FailureKind.BAD_ORDER: "What was asked cannot be carried out as written.",
    FailureKind.NO_PROGRAM: "kopia or restic is missing, or of another version than this Holdfast knows.",
    FailureKind.READER_DOWN: "The repository's reader does not run, or gave no whole answer.",
    FailureKind.UNKNOWN: "The program said something that this version does not know.",
}
DOUBTS: Final[Mapping[Doubt, str]] = {
    Doubt.NOT_ASKED: "No reading of the repository has begun since the claim asked.",
    Doubt.NOT_CHOSEN: "Which Repository or which history is meant is not clear.",
    Doubt.NOT_READY: "The Repository object or its Secret cannot be used as it stands.",
    Doubt.PINNED_ELSEWHERE: "The storage holds another repository than the pin, or than was seen before.",
    Doubt.NEWEST_MISSING: "The newest backup that the record knows is not in the repository.",
    Doubt.NO_RECORD: "There are snapshots, but the record that vouched for them is gone.",
    Doubt.REMEMBERED: "The Protection remembers a backup of which the storage knows nothing.",
}
HOLDS: Final[Mapping[Hold, str]] = {
    Hold.REQUIRED: "`restore: required`, and there is no backup.",
    Hold.FLAGGED: "Every snapshot is flagged.",
    Hold.NOT_FOUND: "The snapshot or time asked for is not there.",
    Hold.UNREADABLE: "The restore annotation cannot be read.",
    Hold.NO_REASON: "`restore: never` without a reason.",
    Hold.NOT_GRANTED: "The history of another namespace, without a grant.",
    Hold.NO_REQUEST: "The Restore that the claim names is missing or cannot be read.",
}
PAUSES: Final[Mapping[Pause, str]] = {
    Pause.CLASS_MISSING: "Its StorageClass does not exist, or it names none and there is no default.",
    Pause.CLASS_NOT_BY_NAME: "The claim waits for a volume by name, and Holdfast was not told so of its class.",
    Pause.CONSUMER: "No pod that uses the claim is there yet; the class makes volumes only where one will run.",
    Pause.NODE: "A node on which the claim's pod can run is being looked for.",
    Pause.VOLUME: "The cluster makes the volume.",
    Pause.MOVER: "A mover restores the snapshot into the volume.",
    Pause.TOO_LITTLE: "The volume is smaller, or allows less, than what the claim asks for.",
    Pause.NAME_TAKEN: "A volume that Holdfast did not make has the name that the claim waits for.",
    Pause.EARLIER_VOLUME: "The volume of an earlier claim has the name, and is being deleted.",
    Pause.BINDING: "The volume is filled and named to the claim; the cluster binds the two.",
    Pause.CLEARING: "An earlier attempt is being cleared away.",
}
UNARMED: Final[Mapping[Unarmed, str]] = {
    Unarmed.NOT_PROTECTED: "Neither the claim nor its namespace asks for it.",
    Unarmed.MADE_BY_TOOL: "Holdfast, VolSync, Velero or CDI makes and fills it.",
    Unarmed.OPERATED: "A Pod or an operator owns it and makes it anew. An operator's claim with the label of its own "
    "and `holdfast.dev/restore: auto` is armed all the same.",
    Unarmed.HELD: "Its own manifest holds it.",
    Unarmed.HAS_SOURCE: "It is filled from a snapshot, another claim, or by another populator.",
    Unarmed.STATIC: 'A selector, a `volumeName` or the class `""` chooses its volume: it is backed up only.',
    Unarmed.BLOCK: "`volumeMode: Block` is neither backed up nor restored.",
    Unarmed.NAMELESS: "Its class is held by name, and the API server has yet to make its name: it has no history.",
}
FLAGS: Final[Mapping[Flag, str]] = {
    Flag.INCOMPLETE: "The engine says that the run was cut short.",
    Flag.PARTIAL: "Files that could not be read are missing; `holdfast.dev/accept-partial` lets it be restored.",
    Flag.EMPTY: "It holds no file, where the last good one held some.",
    Flag.UNRECORDED: "It is in the repository, but its run never counted as done.",
}
STATES: Final[Mapping[Health, str]] = {
    Health.PROTECTED: "The last good backup is in time.",
    Health.NEW: "There is no backup yet, and none is overdue.",
    Health.LATE: "The last good backup is older than two intervals and two hours.",
    Health.FAILING: "The last run failed; it is tried again by itself.",
    Health.WAITING: "The claim waits for its data, and its app with it.",
    Health.RESTORING: "The claim's data is being brought back.",
    Health.BORN_UNARMED: "It was bound without Holdfast and lacks its data; `holdfast rearm` tells how to get it back.",
    Health.FLAGGED: "The newest backup is partial or empty.",
    Health.REVIEW: "Something written on the claim cannot be used.",
    Health.RELEASED: "The claim is gone; its backups stay.",
    Health.UNKNOWN: "Nobody can tell.",
}
