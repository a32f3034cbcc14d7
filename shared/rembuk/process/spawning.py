"""Child processes in sessions of their own, as another user where asked, which may end with us."""

import functools
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from rembuk.process.lifeline import end_with_us


@dataclass(frozen=True)
class RunAs:
    """Who a server runs as: us (no uid), or another user, perhaps with one capability to pass directories."""

    uid: int | None = None
    gid: int | None = None
    capability: str | None = None


@functools.cache
def _spawner() -> ThreadPoolExecutor:
    """One thread that stays starts every child, since Linux ends a child with the thread that started it."""
    return ThreadPoolExecutor(1, "rembuk-embedded")


def spawn(
    command: list[str],
    run_as: RunAs,
    *,
    out: int,
    env: dict[str, str] | None = None,
    keep: int | None = None,
    signal_at_our_end: signal.Signals | None = None,
) -> subprocess.Popen[bytes]:
    """A child in a session of its own (Ctrl-C is for us), writing to `out`, holding the descriptor `keep`."""
    uid, gid = run_as.uid, run_as.gid
    if run_as.capability is not None:
        # setpriv sets the signal after the change of user, which clears it. Without no_setuid_fixup the
        # capability would not count for access(2), by which PostgreSQL looks for itself.
        kept = [f"--inh-caps=+{run_as.capability}", f"--ambient-caps=+{run_as.capability}", "--no-new-privs"]
        kept.append("--securebits=+no_setuid_fixup")
        at_our_end = [f"--pdeathsig={signal_at_our_end.name}"] if signal_at_our_end else []
        user = [f"--reuid={uid}", f"--regid={gid}", "--clear-groups"]
        command = ["setpriv", *user, *kept, *at_our_end, *command]
        uid = gid = None

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            cwd="/",
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            user=uid,
            group=gid,
            extra_groups=None if uid is None else [],
            start_new_session=True,
            pass_fds=() if keep is None else (keep,),
            preexec_fn=end_with_us(signal_at_our_end),
        )

    return _spawner().submit(start).result()
