"""What a hostile file asks to be called: 36 targets, and where a configuration could name one."""

from collections.abc import Callable
from typing import Any

TARGETS = (
    "os.system",
    "os.popen",
    "os.execv",
    "os.remove",
    "os.putenv",
    "posix.system",
    "os.spawnlp",
    "subprocess.run",
    "subprocess.Popen",
    "subprocess.check_output",
    "pty.spawn",
    "builtins.exec",
    "builtins.eval",
    "builtins.open",
    "builtins.compile",
    "builtins.__import__",
    "importlib.import_module",
    "runpy.run_path",
    "runpy.run_module",
    "code.interact",
    "pickle.loads",
    "marshal.loads",
    "shelve.open",
    "shutil.rmtree",
    "shutil.move",
    "pathlib.Path.write_text",
    "pathlib.Path.unlink",
    "multiprocessing.Process",
    "ctypes.CDLL",
    "torch.load",
    "torch.hub.load",
    "torch.utils.cpp_extension.load_inline",
    "logging.config.dictConfig",
    "logging.config.listen",
    "urllib.request.urlretrieve",
    "socket.create_connection",
)

# Where Hydra would call it: a way to plant `target` into the composed `hydra` part.
Plant = Callable[[dict[str, Any], str], object]
PLACES: dict[str, Plant] = {
    "the launcher": lambda h, t: h["launcher"].update(_target_=t),
    "below the launcher": lambda h, t: h["launcher"].update(x={"_target_": t, "_args_": ["id"]}),
    "the sweeper": lambda h, t: h["sweeper"].update(_target_=t),
    "below the sweeper": lambda h, t: h["sweeper"].update(x=[{"_target_": t}]),
    "a callback": lambda h, t: h["callbacks"].update(x={"_target_": t}),
    "a log handler's factory": lambda h, t: _handlers(h, "job_logging").update(x={"()": t}),
    "a log handler's class": lambda h, t: _handlers(h, "hydra_logging").update(x={"class": t}),
    "a formatter's factory": lambda h, t: h["job_logging"].update(formatters={"x": {"()": t}}),
    "a log filter": lambda h, t: h["job_logging"].update(filters={"x": {"()": t}}),
    "a log stream": lambda h, t: _handlers(h, "job_logging").update(
        x={"class": "logging.StreamHandler", "stream": f"ext://{t}"}
    ),
    "a logger's property": lambda h, t: _handlers(h, "job_logging").update(
        x={"class": "logging.StreamHandler", ".": {"x": f"ext://{t}"}}
    ),
}


def _handlers(hydra: dict[str, Any], key: str) -> dict[str, Any]:
    handlers: dict[str, Any] = hydra[key].setdefault("handlers", {})
    return handlers
