"""Why a mark is missed, by figure: shown only while it is. Written by people, after looking."""

REASONS: dict[str, str] = {
    "downloaded": (
        "what a member's JupyterLab needs from PyPI (122 MB) is the same on both sides, and node as a wheel (61 MB), uv"
        " (18 MB), Debian's packages with their lists (27 MB) and about 40 MB that were not broken down come on top of"
        " it; stock pays 240 MB for Debian's npm instead. Ours downloads nothing for a further member, stock 122 MB:"
        " by that, the ratio would be below 0.40 from the fourth member on"
    ),
    "service_memory": (
        "the proxy is the same program on both sides and takes the same; it already runs without node's optimizing"
        " compilers, and two thirds of what is left is node's own program file. The hub is the same JupyterHub, a"
        " little leaner. Tried without effect: one memory arena for malloc, node with a single thread, a smaller young"
        " generation. Running the hub without docstrings (-OO) would save 5 MB and also drop the assertions of all"
        " libraries, which is not worth it. What remains is JupyterHub itself: SQLAlchemy 19 MB, aiohttp, pydantic 10"
    ),
}
