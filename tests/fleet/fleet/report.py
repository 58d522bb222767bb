"""The table and the plot."""


def table(rows):
    lines = ["| asked | seen | |", "| --- | --- | --- |"]
    lines += [f"| {asked} | {seen.strip()} | {'yes' if met else '**no**'} |" for asked, seen, met in rows]
    return "\n".join(lines)


def plot(path, options, runs):
    """What the entries carry over time: with clients that are moved, and by DNS alone."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(len(runs), 1, figsize=(9, 3.4 * len(runs)), sharex=True, squeeze=False)
    cap = options.mbit * 125_000
    for axis, (name, samples) in zip(axes[:, 0], runs):
        times = [at for at, _ in samples]
        columns = [[rates[entry] / cap * 100 for _, rates in samples] for entry in range(options.entries)]
        for entry, column in enumerate(columns):
            axis.plot(times, column, linewidth=1, label=f"entry {entry + 1}")
        whole = [sum(rates) / (cap * options.entries) * 100 for _, rates in samples]
        axis.plot(times, whole, color="black", linewidth=2.2, label="all, of all caps")
        axis.axhline(90, color="gray", linestyle=":", linewidth=1)
        axis.axvline(0, color="gray", linestyle="--", linewidth=1)
        axis.set_ylim(0, 112)
        axis.set_ylabel("% of cap")
        axis.set_title(name, fontsize=10, loc="left")
        axis.legend(fontsize=7, ncol=5, loc="lower right")
    axes[-1, 0].set_xlabel(f"seconds since {options.entries} entries are there instead of one")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
