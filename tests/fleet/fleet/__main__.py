"""A whole fleet on one machine; see README.md."""

import argparse
import os
import shutil
import signal
import sys
import tempfile

from . import parts, report, scenes


def options():
    parser = argparse.ArgumentParser(prog="tests/fleet/run.sh", description="A whole fleet on one machine.")
    parser.add_argument("--entries", type=int, default=4, help="balancers (4)")
    parser.add_argument("--proxies", type=int, default=2, help="proxies (2)")
    parser.add_argument("--mbit", type=int, default=20, help="what each balancer carries each way, Mbit/s (20)")
    parser.add_argument("--authority", default="bind", choices=["bind", "knot", "powerdns", "responder"])
    parser.add_argument("--resolvers", type=int, default=4, help="caching resolvers, each with clients of its own (4)")
    parser.add_argument("--applications", type=int, default=48, help="pools of clients (48)")
    parser.add_argument("--threads", type=int, default=4, help="connections of each pool (4)")
    parser.add_argument("--demand", type=float, default=0.93, help="what clients want, of all caps, without overhead (0.93)")
    parser.add_argument("--seconds", type=int, default=60, help="until what is carried is measured (60)")
    parser.add_argument("--scene", action="append", choices=["baseline", *scenes.SCENES], help="only these (repeatable)")
    parser.add_argument("--slotway", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--plot", help="where the plot goes")
    parser.add_argument("--keep", action="store_true", help="keep the folder with settings and logs")
    return parser.parse_args()


def say(text):
    print(text, flush=True)


def with_fleet(chosen, act):
    folder = tempfile.mkdtemp(prefix="slotway-fleet-")
    fleet = parts.Fleet(chosen, folder)
    failed = True
    try:
        fleet.up()
        result = act(fleet)
        failed = False
        return result
    finally:
        fleet.down()
        if chosen.keep or failed:
            say(f"settings and logs: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def main():
    chosen = options()
    absent = parts.missing(chosen.authority)
    if os.geteuid() != 0 or absent:
        say(f"skipped: {'needs ' + ', '.join(absent) if absent else 'network namespaces need root'}")
        return 0
    # Whoever stops it stops everything that it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    wanted = chosen.scene or ["baseline", *scenes.SCENES]
    rows, runs = [], []

    def moved(fleet):
        say(f"{chosen.entries} entries of {chosen.mbit} Mbit/s, {chosen.proxies} proxies, {chosen.authority}: filling")
        crowd, samples, found = scenes.filling(fleet, True, chosen.seconds)
        try:
            runs.append(("with Slotway's movers", samples))
            reached = "not" if found["reached"] is None else f"after {found['reached']:.0f} s"
            seen = f"{found['part']:.0%} after {chosen.seconds} s (90 % {reached})"
            rows.append((
                f"{chosen.entries} entries carry 90 % of all caps within {chosen.seconds} s", seen, found["part"] >= 0.9,
            ))
            rows.append(("no entry stays at its cap", f"the fullest carries {found['fullest']:.1%} of it", found["fullest"] < 0.995))
            errors = f"{found['errors']} {crowd.last_errors if found['errors'] else ''}"
            rows.append(("0 client errors while they move", errors, found["errors"] == 0))
            for scene in [scene for scene in scenes.SCENES if scene in wanted]:
                say(scene)
                rows.extend(scenes.SCENES[scene](fleet, crowd))
        finally:
            crowd.end()

    def alone(fleet):
        say("the same by DNS alone")
        crowd, samples, found = scenes.filling(fleet, False, chosen.seconds)
        crowd.end()
        runs.append(("DNS alone", samples))
        seen = f"{found['part']:.0%} after {chosen.seconds} s, the fullest entry at {found['fullest']:.0%}"
        rows.append(("beside it: DNS alone", seen, True))

    with_fleet(chosen, moved)
    if "baseline" in wanted:
        with_fleet(chosen, alone)
    say(report.table(rows))
    if chosen.plot:
        try:
            report.plot(chosen.plot, chosen, runs)
            say(f"plot: {chosen.plot}")
        except ImportError:
            say("no plot: matplotlib is not installed")
    return 0 if all(met for *_, met in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
