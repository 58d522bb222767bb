"""Plots what `footprint --json` measured: python plot.py footprint.json DIR writes SVG and PNG files to DIR."""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

OURS = "slotway"
JUDGED_AT = 10_000
CASES = ["idle", "subscribed", "subscribed-distinct", "blocked"]
TITLES = {
    "idle": "idle",
    "subscribed": "subscribed,\none channel",
    "subscribed-distinct": "subscribed,\nown channel",
    "blocked": "blocked\nin BLPOP",
}
# The goal and the stretch goal for user memory, in bytes.
GOALS = {
    "idle": (700, 400),
    "subscribed": (1200, 700),
    "subscribed-distinct": (1200, 700),
    "blocked": (1600, 1024),
}
USER, KERNEL, LARGE, GOAL = "#0b6e8f", "#c9ced3", "#c8553d", "#222222"


def figures(report, target, table, case):
    """The cell at the number of clients that goals are judged at, or the most below."""
    found = [
        dict(cell["outcome"]["measured"], kernel=cell["kernel"])
        for cell in report["cells"]
        if (cell["target"], cell["table"], cell["case"]) == (target, table, case)
        and "measured" in cell["outcome"]
    ]
    fitting = [one for one in found if one["clients"] <= JUDGED_AT]
    return max(fitting, key=lambda one: one["clients"]) if fitting else None


def number(value):
    return f"{value:,.0f}"


def caption(report):
    setting = report["setting"]
    cpu = setting["cpu"].replace("(R)", "")
    return f"{cpu}, {setting['cores']} cores, Linux {setting['kernel']}, {setting['threads']} worker thread(s)"


def save(figure, report, directory, name):
    figure.text(0.99, 0.01, caption(report), ha="right", fontsize=8, color="#666666")
    for ending in ("svg", "png"):
        # No date in the file: the same figures give the same bytes.
        extra = {"metadata": {"Date": None}} if ending == "svg" else {}
        figure.savefig(directory / f"{name}.{ending}", dpi=150, **extra)
    plt.close(figure)


def style(axes):
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e6e6e6")
    axes.set_axisbelow(True)


def dashed(axes, position, case):
    """The goals of a kind of clients as dashed lines across its bar, their names beside the bar."""
    for value, word in zip(GOALS[case], ("goal", "stretch")):
        color = GOAL if word == "goal" else "#7a7a7a"
        axes.plot([position - 0.44, position + 0.5], [value] * 2, ls="--", lw=1.3, color=color)
        axes.annotate(f"{word} {number(value)}", (position - 0.04, value), xytext=(4, 3),
                      textcoords="offset points", fontsize=8, color=color)


def plot_user(axes, cells):
    for position, (case, one) in enumerate(cells):
        value = one["user"]["private_dirty"]
        axes.bar(position - 0.22, value, 0.36, color=USER)
        # At the foot, where no goal crosses it.
        axes.annotate(number(value), (position - 0.22, 0), xytext=(0, 10), textcoords="offset points", ha="center",
                      color="white", fontsize=11, fontweight="bold")
        dashed(axes, position, case)
    axes.margins(y=0.08)
    axes.yaxis.set_major_formatter(lambda value, _: number(value))
    axes.set_title("User memory, beside the goals", loc="left", fontsize=11)
    axes.set_ylabel("private dirty bytes a client")


def plot_with_kernel(axes, cells):
    for position, (_, one) in enumerate(cells):
        user, kernel = one["user"]["private_dirty"], one["kernel"]
        axes.bar(position, kernel, 0.5, color=KERNEL, label="kernel: the proxy's sockets" if not position else None)
        axes.bar(position, user, 0.5, bottom=kernel, color=USER, label="user: private dirty" if not position else None)
        axes.annotate(number(kernel), (position, kernel / 2), ha="center", va="center", fontsize=10)
        axes.annotate(f"{number(user + kernel)} in all", (position, user + kernel), xytext=(0, 4),
                      textcoords="offset points", ha="center", fontsize=10, fontweight="bold")
    axes.margins(y=0.2)
    axes.yaxis.set_major_formatter(lambda value, _: number(value))
    axes.set_title("With the kernel's share", loc="left", fontsize=11)
    axes.set_ylabel("bytes a client at the proxy")
    axes.legend(frameon=False, fontsize=9, loc="upper left")


def plot_clients(report, directory):
    found = ((case, figures(report, OURS, 16, case)) for case in CASES)
    cells = [(case, one) for case, one in found if one]
    if not cells:
        return
    figure, (left, right) = plt.subplots(1, 2, figsize=(14, 5.6))
    by_case = dict(cells)
    named = by_case.get("blocked") or cells[-1][1]
    word = "a blocked" if "blocked" in by_case else "an idle"
    share = named["user"]["private_dirty"] / (named["user"]["private_dirty"] + named["kernel"])
    figure.suptitle(
        f"To Slotway {word} client costs {number(named['user']['private_dirty'])} bytes: "
        f"{share:.0%} of what its sockets and it take",
        x=0.01, ha="left", fontsize=14, fontweight="bold",
    )
    plot_user(left, cells)
    plot_with_kernel(right, cells)
    for axes in (left, right):
        style(axes)
        axes.set_xticks(range(len(cells)))
        axes.set_xticklabels([f"{TITLES[case]}\n({number(one['clients'])} clients)" for case, one in cells], fontsize=9)
    figure.tight_layout(rect=(0, 0.03, 1, 0.95))
    save(figure, report, directory, "footprint-clients")


def plot_table(report, directory):
    small, large = (figures(report, OURS, table, "blocked") for table in (16, 16384))
    if not (small and large):
        return
    kinds = [("allocated", "allocated"), ("resident", "resident\n(allocator)"), ("private_dirty", "private dirty")]
    figure, axes = plt.subplots(figsize=(9, 5.6))
    for position, (kind, _) in enumerate(kinds):
        pair = [small["user"][kind], large["user"][kind]]
        for offset, value, color, label in zip((-0.2, 0.2), pair, (USER, LARGE), ("16 buckets", "16,384 buckets")):
            axes.bar(position + offset, value, 0.36, color=color, label=label if not position else None)
            axes.annotate(number(value), (position + offset, value), xytext=(0, 4), textcoords="offset points",
                          ha="center", fontsize=10)
        axes.annotate(f"{pair[1] / pair[0]:.0f}x", (position, max(pair)), xytext=(0, 22),
                      textcoords="offset points", ha="center", fontsize=15, fontweight="bold")
    axes.set_yscale("log")
    axes.set_ylim(100, max(large["user"][kind] for kind, _ in kinds) * 12)
    axes.yaxis.set_major_formatter(lambda value, _: number(value))
    axes.set_xticks(range(len(kinds)))
    axes.set_xticklabels([title for _, title in kinds])
    axes.set_ylabel("bytes a blocked client (logarithmic)")
    style(axes)
    axes.legend(frameon=False, loc="upper right", fontsize=10)
    ratio = large["user"]["allocated"] / small["user"]["allocated"]
    figure.suptitle(f"A slot table of 16,384 buckets costs {ratio:.0f} times one of 16",
                    x=0.01, ha="left", fontsize=14, fontweight="bold")
    figure.tight_layout(rect=(0, 0.03, 1, 0.96))
    save(figure, report, directory, "footprint-table")


def plot_storm(report, directory):
    storm = report["storm"]
    if not storm or "refused" in storm:
        return
    figure, axes = plt.subplots(figsize=(9, 5))
    rows = [("start", storm["start"]), ("peak", storm["peak"])]
    rows += [(f"{seconds} s\nafter", memory) for seconds, memory in storm["after"]]
    start, mib = storm["start"]["rss"], 2**20
    for position, (_, memory) in enumerate(rows):
        axes.bar(position, memory["rss"] / mib, 0.55, color=LARGE if position == 1 else USER)
        # At the foot, where the goal does not cross it.
        axes.annotate(f"{memory['rss'] / mib:.1f}", (position, 0), xytext=(0, 10), textcoords="offset points",
                      ha="center", color="white", fontsize=12, fontweight="bold")
    axes.axhline(start * 1.2 / mib, ls="--", color=GOAL, lw=1.3)
    axes.annotate("goal: start + 20 %", (len(rows) + 0.55, start * 1.2 / mib), xytext=(0, 4),
                  textcoords="offset points", ha="right", fontsize=9)
    axes.set_xlim(-0.6, len(rows) + 0.6)
    axes.margins(y=0.12)
    axes.set_xticks(range(len(rows)))
    axes.set_xticklabels([name for name, _ in rows])
    axes.set_ylabel("resident memory (RSS), MiB")
    style(axes)
    left = rows[-1][1]["rss"] / start
    figure.suptitle(f"30 s after {number(storm['clients'])} blocked clients have gone, RSS is {left:.2f} times the start",
                    x=0.01, ha="left", fontsize=14, fontweight="bold")
    figure.tight_layout(rect=(0, 0.03, 1, 0.96))
    save(figure, report, directory, "footprint-storm")


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    report = json.loads(Path(sys.argv[1]).read_text())
    directory = Path(sys.argv[2])
    directory.mkdir(parents=True, exist_ok=True)
    plt.rcParams.update({"font.family": "DejaVu Sans", "font.size": 10, "svg.hashsalt": "slotway"})
    plot_clients(report, directory)
    plot_table(report, directory)
    plot_storm(report, directory)


main()
