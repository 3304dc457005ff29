#!/usr/bin/env python3
"""What would be wrong in silence: the bytes that are sent, and how output is read."""

import contextlib
import pathlib
import socket
import sys
import tempfile
import threading
import unittest

sys.dont_write_bytecode = True

import load
import one_call
import report
import run
import servers
from one_call import Failed, field

H2LOAD = """starting benchmark...
spawning thread #0: 8 total client(s). 32 total requests
Main benchmark duration is started for thread #0.
finished in 3.00s, 123456.67 req/s, 14.12MB/s
requests: 370370 total, 370626 started, 370370 done, 370370 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 370400 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 42.36MB (44414440) total, 6.01MB (6296290) headers (space savings 94.12%), 30.37MB (31851820) data
                     min         max         mean         sd        +/- sd
time for request:      210us     12.34ms      2.07ms       310us    91.20%
"""


class Messages(unittest.TestCase):
    def test_fields_are_read_as_they_were_written(self):
        for value in (0, 1, 127, 128, 300, 100_000_000, 2**63):
            self.assertEqual(one_call.fields(field(15, value)), [(15, value)])
        for text in ("", "a", "x" * 300):
            self.assertEqual(one_call.fields(field(2, text)), [(2, text.encode())])

    def test_an_acquire_is_what_protoc_makes_of_it(self):
        # protoc --encode of: org "bench-1", workspace "bench-eu", operation "hot",
        # execution_user "alice", calls 100, permit_ttl {nanos: 100000000}.
        known = "0a0762656e63682d31120862656e63682d65751a03686f742205616c696365306452051080c2d72f"
        self.assertEqual(servers.acquire("bench-1", 100).hex(), known)
        self.assertEqual(one_call.framed(b"abc"), b"\0\0\0\0\3abc")

    def test_only_a_permit_with_an_id_and_calls_is_one(self):
        permit = field(1, "p1") + field(2, 1) + field(6, b"") * 3
        self.assertTrue(servers.is_permit(field(1, permit)))
        self.assertEqual(servers.limits_of(field(1, permit)), 3)
        for refused in (field(2, field(1, 4)), field(1, field(1, "p1")), field(1, field(2, 1)), b""):
            self.assertFalse(servers.is_permit(refused), refused)

    def test_peers_that_refuse_are_heard(self):
        self.assertTrue(servers.is_allowed(field(1, 1)))
        self.assertFalse(servers.is_allowed(b""))
        self.assertTrue(servers.is_ok(field(1, 1)))
        self.assertFalse(servers.is_ok(field(1, 2)))
        under, over, failed = field(1, field(2, 9)), field(1, field(1, 1)), field(1, field(5, "no"))
        self.assertTrue(servers.all_under(under * 3))
        for answer in (under * 2, under * 2 + over, under * 2 + failed, b""):
            self.assertFalse(servers.all_under(answer), answer)

    def test_an_answer_is_put_together_from_its_frames(self):
        def answering(*frames):
            with socket.create_server(("127.0.0.1", 0)) as server:

                def serve():
                    link, _ = server.accept()
                    with link:
                        link.recv(65_536)
                        link.sendall(b"".join(frames))
                        link.shutdown(socket.SHUT_WR)
                        link.recv(65_536)

                thread = threading.Thread(target=serve)
                thread.start()
                try:
                    return one_call.call(server.getsockname()[1], "/s/m", b"ask")
                finally:
                    thread.join()

        settings = one_call.frame(one_call.SETTINGS, 0, 0, b"")
        head = one_call.frame(one_call.HEADERS, one_call.END_HEADERS, 1, b"\x88")
        message = one_call.framed(b"hello")
        first, second = (one_call.frame(one_call.DATA, 0, 1, part) for part in (message[:4], message[4:]))
        end = one_call.frame(one_call.HEADERS, one_call.END_HEADERS | one_call.END_STREAM, 1, b"")
        padded = one_call.frame(one_call.DATA, one_call.PADDED, 1, b"\2" + message + b"\0\0")
        self.assertEqual(answering(settings, head, first, second, end), b"hello")
        self.assertEqual(answering(settings, head, padded, end), b"hello")
        for bad in ([settings, head, end], [one_call.frame(one_call.GOAWAY, 0, 0, b"")], []):
            with self.assertRaises(Failed):
                answering(*bad)


class Output(unittest.TestCase):
    def test_h2loads_figures_are_read(self):
        self.assertEqual(load.parse_h2load(H2LOAD), {"rate": 123456.67, "done": 370370, "data": 31851820})

    def test_failures_of_any_kind_are_not_speed(self):
        for old, new in (
            ("0 failed", "3 failed"), ("0 errored", "1 errored"), ("0 timeout", "1 timeout"),
            ("370400 2xx, 0 3xx", "370390 2xx, 10 3xx"), ("370400 2xx", "370369 2xx"),
            ("370370 succeeded", "370369 succeeded"), ("finished", "started"),
        ):  # fmt: skip
            self.assertIn(old, H2LOAD)
            with self.assertRaises(Failed):
                load.parse_h2load(H2LOAD.replace(old, new))

    def test_what_was_not_granted_is_no_decision(self):
        load.check_decisions(1000, 1000, 0, 256)
        load.check_decisions(1000, 1256, 0, 256)
        for granted, denied in ((999, 0), (1257, 0), (1000, 1)):
            with self.assertRaises(Failed):
                load.check_decisions(1000, granted, denied, 256)

    def test_latencies_are_read_from_h2loads_log(self):
        log = "".join(f"1700000000000000\t200\t{micros}\n" for micros in range(100, 0, -1))
        self.assertEqual(load.percentiles_of(log), {"p50": 51, "p99": 100, "max": 100})
        with self.assertRaises(Failed):
            load.percentiles_of("")

    def test_our_own_client_has_to_be_granted_everything(self):
        said = {
            "granted": 5, "denied": 0, "errors": 0, "decisionsPerSecond": 10, "unsent": 1,
            "grantedLatencyMicros": {"p50": 1.0, "p90": 2.0, "p99": 3.0, "max": 4.0},
        }  # fmt: skip
        self.assertEqual(load.parse_own(said), {"p50": 1.0, "p99": 3.0, "max": 4.0, "rate": 10, "unsent": 1})
        for bad in ({"denied": 1}, {"errors": 1}, {"granted": 0}):
            with self.assertRaises(Failed):
                load.parse_own(said | bad)

    def test_decisions_are_counted_over_all_reasons_and_classes(self):
        metrics = """# TYPE quotagate_decisions counter
quotagate_decisions_total{decision="denied",reason="org_limit",class="bulk"} 2
quotagate_decisions_total{decision="granted",reason="none",class="event"} 40
quotagate_decisions_total{decision="granted",reason="none",class="bulk"} 2
quotagate_reserves_total 7
"""
        self.assertEqual(servers.decisions_of(metrics), (42, 2))

    def test_waits_are_told_apart_by_their_length(self):
        metrics = """quotagate_decisions_total{decision="granted",reason="none",class="event"} 40
quotagate_reserves_total{outcome="fenced"} 1
quotagate_reserves_total{outcome="done"} 7
quotagate_store_wait_seconds_count 6
quotagate_store_wait_seconds_bucket{le="0.0005"} 1
quotagate_store_wait_seconds_bucket{le="0.001"} 1
quotagate_store_wait_seconds_bucket{le="0.01"} 4
quotagate_store_wait_seconds_bucket{le="0.1"} 4
quotagate_store_wait_seconds_bucket{le="+Inf"} 6
"""
        known = {"granted": 40, "reserves": 7, "waited": [1, 3, 0, 2]}
        self.assertEqual(servers.waits_of(metrics), known)


class Programs(unittest.TestCase):
    def test_only_programs_with_the_same_allocator_are_compared(self):
        with tempfile.TemporaryDirectory() as folder:
            paths = {name: pathlib.Path(folder) / name for name in ("quotagate", "echo")}
            for ours, theirs, fair in ((b"", b"", True), (b"mimalloc", b"mimalloc", True), (b"mimalloc", b"", False)):
                paths["quotagate"].write_bytes(b"\x7fELF" + ours)
                paths["echo"].write_bytes(b"\x7fELF" + theirs)
                with contextlib.nullcontext() if fair else self.assertRaises(Failed):
                    run.same_allocator(paths)


class Report(unittest.TestCase):
    def results(self):
        def sample(rate):
            return {"rate": rate, "cpu_us": 5.0, "bytes": 300}

        rates = {"tonic echo": [100.0, 50.0, None], "quotagate memory:": [110.0, 50.0, 9.0]}
        eight = [{"rate": rate, "p50": p50, "p99": 2 * p50} for rate, p50 in ((55.0, 30), (25.0, 40))]
        return report.Results({
            "full": {name: [rate and sample(rate) for rate in each] for name, each in rates.items()},
            "eight": {"quotagate memory:": [*eight, None]},
        })  # fmt: skip

    def test_ratios_are_of_the_same_round(self):
        self.assertEqual(self.results().ratios("full", "quotagate memory:", "tonic echo"), [1.1, 1.0])
        self.assertEqual(self.results().ratios("single", "quotagate memory:", "tonic echo"), [])

    def test_figures_have_their_spread(self):
        self.assertEqual(report.figure([3, 1000, 2]), "3 (2 to 1,000)")
        self.assertEqual(report.figure([2.04, 2.01], 1), "2.0")
        self.assertEqual(report.figure([7]), "7")
        self.assertEqual(report.figure([]), "–")

    def test_only_what_stands_between_the_markers_is_replaced(self):
        text = f"a\n{report.BEGIN}\nold\n{report.END}\nb\n"
        new = report.put_between(text, "new\n")
        self.assertEqual(new, f"a\n{report.BEGIN}\nnew\n{report.END}\nb\n")
        self.assertEqual(report.put_between(new, "new\n"), new)

    def test_table_and_chart_have_every_server(self):
        compared = [servers.echo("e"), servers.quotagate("q", "memory:")]
        waits = {"quotagate memory:": {"granted": 1000, "reserves": 7, "waited": [1, 3, 0, 2]}}
        text = report.markdown(self.results(), compared, "Facts.", ["gubernator: not found"], waits)
        self.assertIn("| quotagate memory: | three limits, in memory | 50 (9 to 110) | 1.05 |", text)
        self.assertIn("| quotagate memory: | 40 (25 to 55) | 0.50 | 35 (30 to 40) | 70 (60 to 80) | 2.00 |", text)
        self.assertIn("- gubernator: not found", text)
        self.assertIn("| quotagate memory: | 1,000 | 7 | 6 | 1 | 3 | 0 | 2 |", text)
        chart = report.svg(self.results(), compared)
        self.assertIn("50, 1.05 × echo", chart)
        self.assertIn("prefers-color-scheme: dark", chart)


if __name__ == "__main__":
    tests = unittest.main(exit=False, verbosity=0).result
    bad = len(tests.failures) + len(tests.errors)
    print(f"{tests.testsRun - bad} passed, {bad} failed, {len(tests.skipped)} skipped")
    sys.exit(bad > 0)
