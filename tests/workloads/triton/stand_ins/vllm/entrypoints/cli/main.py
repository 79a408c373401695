import argparse
import socket
import time

from vllm.engine.arg_utils import AsyncEngineArgs


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["serve"])
    parser.add_argument("model")
    parser.add_argument("--headless", action="store_true", required=True)
    for name, kind in AsyncEngineArgs.__annotations__.items():
        word = f"--{name.replace('_', '-')}"
        if kind is bool:
            parser.add_argument(word, action=argparse.BooleanOptionalAction)
        elif name != "model":
            parser.add_argument(word, type=int if "int" in str(kind) else str)
    given = vars(parser.parse_args())
    del given["command"], given["headless"]
    config = AsyncEngineArgs(**{k: v for k, v in given.items() if v is not None})
    assert config.node_rank > 0
    compute(config)


def compute(config: AsyncEngineArgs) -> None:
    """Half of each token, for the leader."""
    deadline = time.monotonic() + 30
    while True:
        try:
            link = socket.create_connection((config.master_addr, config.master_port))
            break
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    lines = link.makefile("rw")
    lines.write(f"{config.said()}\n")
    lines.flush()
    for line in lines:
        lines.write(line)
        lines.flush()


if __name__ == "__main__":
    main()
