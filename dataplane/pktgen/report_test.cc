// Reports of runs and searches over the model device: each format is read back by a parser of its
// own.
#include "dataplane/pktgen/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <sstream>

#include "dataplane/pktgen/profile_text.h"
#include "dataplane/pktgen/svg_plot.h"
#include "dataplane/pktgen/test_device.h"

namespace sluice::pktgen {
namespace {

namespace json = boost::json;
using testing::HasSubstr;

Profile some_profile() {
    Profile profile;
    profile.name = "udp, \"quoted\" <&> |*";
    profile.source.first = profile.source.last = *IpAddress::parse("10.0.0.1");
    profile.destination.first = profile.destination.last = *IpAddress::parse("10.0.1.1");
    profile.duration_s = 20;
    profile.packets_per_second = 2e6;
    return profile;
}

Report described(decltype(Report::what) what) {
    return {"9.8.7", "2026-01-02T03:04:05Z", "sluice-pktgen run -- --no-pci", std::move(what)};
}

Report run_report() {
    ModelDevice device;
    device.loss = ModelDevice::capacity(1.5e6);
    auto run = *device.run(some_profile(), {});
    for (std::size_t i = 0; i < run.samples.size(); ++i) {
        run.samples[i].p50_ns = 900 + 40 * i;
        run.samples[i].p99_ns = 9000 + 100 * (i * 7 % 11);
    }
    run.latency.clear();
    for (std::uint64_t i = 0; i < 100000; ++i) {
        run.latency.record(800 + i % 1000 + (i % 100 == 0 ? 8000 : 0) +
                           (i % 10000 == 0 ? 90000 : 0));
    }
    return described(std::move(run));
}

Report throughput_report() {
    ModelDevice device;
    device.sender_limit = 14.88e6;
    device.loss = [](double rate, std::uint32_t bytes) {
        return rate > 9e6 || rate * 8 * (bytes + 20) > 8e9 ? 0.02 : 0.0;
    };
    device.latency_ns = [](double rate) { return static_cast<std::uint64_t>(2000 + rate / 1000); };
    ThroughputReport report;
    report.profile = some_profile();
    report.options.line_bits_per_second = 10e9;
    report.options.trial_s = 2;
    report.options.wait = [](double) { return true; };
    report.sizes = *search_throughput(device, report.profile, report.options, {});
    return described(std::move(report));
}

Report connection_report() {
    ModelDevice device;
    device.sender_limit = 300e3;
    device.loss = ModelDevice::capacity(110e3);
    ConnectionReport report;
    report.profile = some_profile();
    report.profile.name = "connections";
    report.profile.l4 = L4::kTcp;
    report.profile.life_cycle = LifeCycle::kStateful;
    report.options.trial_s = 5;
    report.options.wait = [](double) { return true; };
    report.found = *search_connection_rate(device, report.profile, report.options, {});
    return described(std::move(report));
}

TEST(ReportJson, OfARunHasItsFigures) {
    const Report report = run_report();
    const auto& run = std::get<RunResult>(report.what);
    const json::value parsed = json::parse(report_json(report));
    EXPECT_EQ(parsed.at("report_version"), kReportVersion);
    EXPECT_EQ(parsed.at("kind"), "run");
    EXPECT_EQ(parsed.at("tool_version"), "9.8.7");
    EXPECT_EQ(parsed.at("command"), "sluice-pktgen run -- --no-pci");
    EXPECT_EQ(parsed.at("profile").at("name").as_string(), some_profile().name);
    EXPECT_EQ(parsed.at("profile").at("source"), "10.0.0.1");
    EXPECT_EQ(parsed.at("profile").at("probe"), true);
    EXPECT_EQ(parsed.at("profile").at("ttl"), 64);
    const json::value& out = parsed.at("run");
    EXPECT_EQ(out.at("sent_packets"), 40'000'000);
    EXPECT_EQ(out.at("lost_packets").to_number<std::uint64_t>(), run.lost);
    EXPECT_DOUBLE_EQ(out.at("loss_share").to_number<double>(), 0.25);
    EXPECT_DOUBLE_EQ(out.at("sent_pps").to_number<double>(), 2e6);
    EXPECT_EQ(out.at("latency").at("count"), 100000);
    EXPECT_EQ(out.at("latency").at("p99_9_ns").to_number<std::uint64_t>(),
              run.latency.percentile(99.9));
    std::uint64_t in_steps = 0;
    for (const auto& step : out.at("latency").at("steps").as_array()) {
        in_steps += step.at("count").to_number<std::uint64_t>();
    }
    EXPECT_EQ(in_steps, 100000U);
    EXPECT_EQ(out.at("samples").as_array().size(), 20U);
    EXPECT_EQ(out.at("samples").at(3).at("sent_packets"), 2'000'000);
    EXPECT_EQ(out.at("ports").at(0).at("name"), "model0");
}

// Names that programs rely on: adding is free, taking away raises kReportVersion.
TEST(ReportJson, NamesStay) {
    const auto names = [](const json::value& value) {
        std::string out;
        for (const auto& member : value.as_object()) {
            out += std::string(member.key()) + " ";
        }
        return out;
    };
    const json::value run = json::parse(report_json(run_report()));
    EXPECT_EQ(names(run), "report_version tool tool_version started_at command kind profile run ");
    EXPECT_EQ(
        names(run.at("run")),
        "seconds sent_packets sent_bytes received_packets received_bytes lost_packets loss_share "
        "duplicated_packets reordered_packets corrupted_packets foreign_packets late_packets "
        "behind offered_pps "
        "sent_pps received_pps sent_bps received_bps latency connections ports samples ");
    EXPECT_EQ(names(run.at("run").at("latency")),
              "count min_ns mean_ns standard_deviation_ns p50_ns p90_ns p99_ns p99_9_ns p99_99_ns "
              "max_ns steps ");
    EXPECT_EQ(names(run.at("run").at("samples").at(0)),
              "at_s interval_s sent_packets received_packets lost_packets sent_bytes "
              "received_bytes p50_ns p99_ns "
              "connections_closed ");
    const json::value search = json::parse(report_json(throughput_report()));
    EXPECT_EQ(
        names(search),
        "report_version tool tool_version started_at command kind profile search throughput ");
    EXPECT_EQ(names(search.at("throughput").at(0)),
              "frame_bytes packets_per_second bits_per_second ceiling_packets_per_second "
              "ceiling_is_line settled "
              "best_trial trials ");
    EXPECT_EQ(names(search.at("throughput").at(0).at("trials").at(0)),
              "offered_per_second reached_per_second failed passed run ");
    const json::value rate = json::parse(report_json(connection_report()));
    EXPECT_EQ(names(rate.at("connections")),
              "connections_per_second ceiling_connections_per_second settled best_trial trials ");
}

TEST(ReportJson, OfASearchHasItsTrials) {
    const json::value parsed = json::parse(report_json(throughput_report()));
    EXPECT_EQ(parsed.at("kind"), "throughput");
    EXPECT_EQ(parsed.at("search").at("trial_s").to_number<double>(), 2);
    const auto& sizes = parsed.at("throughput").as_array();
    ASSERT_EQ(sizes.size(), 7U);
    EXPECT_NEAR(sizes[0].at("packets_per_second").to_number<double>(), 9e6, 0.005 * 14.88e6);
    const auto best = sizes[0].at("best_trial").to_number<std::size_t>();
    const auto& trials = sizes[0].at("trials").as_array();
    EXPECT_EQ(trials[best].at("passed"), true);
    // Only the trial that counts has what takes room.
    EXPECT_TRUE(trials[best].at("run").as_object().contains("samples"));
    EXPECT_FALSE(trials[0].at("run").as_object().contains("samples"));
}

// What cannot be a number in JSON is null, not a file that nobody can read.
TEST(ReportJson, NoNumberIsNull) {
    Report report = run_report();
    std::get<RunResult>(report.what).sent_pps = std::numeric_limits<double>::infinity();
    EXPECT_TRUE(json::parse(report_json(report)).at("run").at("sent_pps").is_null());
}

std::string run_python(const std::string& script, const std::string& input) {
    const std::string path = testing::TempDir() + "/pktgen_report_test.txt";
    EXPECT_TRUE(write_file(path, input).has_value());
    FILE* pipe = popen(("/usr/bin/python3 -c '" + script + "' " + path + " 2>&1").c_str(), "r");
    std::string out;
    char buffer[4096];
    for (std::size_t got = 0; (got = fread(buffer, 1, sizeof buffer, pipe)) > 0;)
        out.append(buffer, got);
    pclose(pipe);
    return out;
}

TEST(ReportCsv, AnotherParserReadsIt) {
    constexpr char kScript[] =
        "import csv, sys\n"
        "rows = list(csv.DictReader(open(sys.argv[1], newline=\"\"), strict=True))\n"
        "assert all(None not in r and None not in r.values() for r in rows)\n"
        "kinds = [r[\"row\"] for r in rows]\n"
        "print(*((k, kinds.count(k)) for k in sorted(set(kinds))))\n"
        "last = rows[-1]\n"
        "print(last[\"profile\"], last[\"sent_packets\"], last[\"loss_share\"], "
        "last[\"frame_bytes\"], last[\"found_per_second\"][:3])";
    EXPECT_EQ(run_python(kScript, report_csv(run_report())),
              "('run', 1) ('sample', 20)\nudp, \"quoted\" <&> |* 40000000 0.25  \n");
    EXPECT_THAT(run_python(kScript, report_csv(throughput_report())),
                HasSubstr("('throughput', 7) ('trial', "));
    EXPECT_THAT(run_python(kScript, report_csv(connection_report())),
                HasSubstr("('connections', 1) ('trial', "));
}

TEST(ReportSvg, IsXmlWithAllItsPanels) {
    constexpr char kScript[] =
        "import sys, xml.etree.ElementTree as e\n"
        "root = e.parse(sys.argv[1]).getroot()\n"
        "texts = [t.text or \"\" for t in root.iter(\"{http://www.w3.org/2000/svg}text\")]\n"
        "print(root.tag, texts[0])\n"
        "print(*(t for t in texts if t in (\"Over time\", \"Latency by percentile\", \"Latency "
        "over time\","
        " \"Packets a second\", \"Bits a second of layer 1\", \"Trials\", \"Connections\")), "
        "sep=\"; \")\n"
        "w, h = float(root.get(\"width\")), float(root.get(\"height\"))\n"
        "for t in root.iter(\"{http://www.w3.org/2000/svg}text\"):\n"
        "    if t.get(\"x\"): assert 0 <= float(t.get(\"x\")) <= w and 0 <= float(t.get(\"y\")) <= "
        "h, t.text";
    EXPECT_EQ(run_python(kScript, report_svg(run_report())),
              "{http://www.w3.org/2000/svg}svg udp, \"quoted\" <&> |*\n"
              "Over time; Latency by percentile; Latency over time\n");
    EXPECT_EQ(run_python(kScript, report_svg(throughput_report())),
              "{http://www.w3.org/2000/svg}svg udp, \"quoted\" <&> |*: throughput (RFC 2544)\n"
              "Packets a second; Bits a second of layer 1; Latency by percentile\n");
    EXPECT_EQ(run_python(kScript, report_svg(connection_report())),
              "{http://www.w3.org/2000/svg}svg connections: connections a second\n"
              "Trials; Latency by percentile; Connections\n");
    EXPECT_EQ(svg_escape("\x01\xff<"), "??&lt;");
}

// An empty run, one without a series, one of a single second: a picture, and no division by
// nothing.
TEST(ReportSvg, OfNextToNothing) {
    for (const std::size_t samples : {0U, 1U}) {
        RunResult run;
        run.profile = some_profile();
        run.samples.resize(samples);
        const Report report = described(run);
        for (const std::string& text : {report_svg(report), report_json(report), report_csv(report),
                                        report_markdown(report)}) {
            EXPECT_THAT(text, testing::Not(HasSubstr("nan")));
            EXPECT_THAT(text, testing::Not(HasSubstr("inf")));
        }
    }
    EXPECT_THAT(report_svg(described(ThroughputReport{})), HasSubstr("</svg>"));
    EXPECT_THAT(report_svg(described(ConnectionReport{})), HasSubstr("</svg>"));
}

TEST(ReportMarkdown, OfARun) {
    EXPECT_THAT(report_markdown(run_report()),
                testing::StartsWith(
                    "# udp, \"quoted\" \\<&\\> \\|\\*\n"
                    "\n"
                    "UDP, 64 bytes, one flow; 20 s counted.\n"
                    "\n"
                    "| | packets | bytes | packets/s | bits/s (layer 1) |\n"
                    "|---|---:|---:|---:|---:|\n"
                    "| sent | 40,000,000 | 2,560,000,000 | 2.00 M | 1.34 G |\n"
                    "| received | 30,000,000 | 1,920,000,000 | 1.50 M | 1.01 G |\n"
                    "| lost | 10,000,000 (25 %) | | | |\n"
                    "\n"
                    "| latency | min | mean | 50 % | 90 % | 99 % | 99.9 % | 99.99 % | max |\n"));
}

// A rate that was not reached is not passed over in silence.
TEST(ReportText, SaysWhatWasAskedFor) {
    Report report = run_report();
    auto& run = std::get<RunResult>(report.what);
    EXPECT_THAT(report_text(report), testing::Not(HasSubstr("asked for")));
    EXPECT_THAT(report_text(report),
                HasSubstr("  sent              40,000,000 packets   2.00 Mpps  1.34 Gbit/s\n"));
    EXPECT_THAT(report_text(report), HasSubstr("  lost              10,000,000 packets  25 %\n"));
    run.offered_pps = 4e6;
    EXPECT_THAT(report_text(report), HasSubstr("of 4.00 Mpps that were asked for"));
    EXPECT_THAT(report_markdown(report), HasSubstr("| asked for | | | 4.00 M | |\n"));
}

TEST(ReportText, OfSearchesIsALineASize) {
    EXPECT_THAT(report_text(throughput_report()), HasSubstr("\n     64  "));
    EXPECT_THAT(report_text(throughput_report()), HasSubstr("  14.9 Mpps"));
    EXPECT_THAT(report_text(connection_report()),
                testing::StartsWith("connections: 109 k connections a second; "));
}

// All rows of a table have as many cells as its head.
TEST(ReportMarkdown, TablesAreWhole) {
    for (const Report& report : {run_report(), throughput_report(), connection_report()}) {
        std::istringstream lines(report_markdown(report));
        std::size_t cells = 0;
        for (std::string line; std::getline(lines, line);) {
            if (!line.starts_with('|')) {
                cells = 0;
                continue;
            }
            const auto here = static_cast<std::size_t>(std::count(line.begin(), line.end(), '|'));
            EXPECT_TRUE(cells == 0 || cells == here) << line;
            cells = here;
        }
    }
}

TEST(WriteFile, ReplacesAsAWhole) {
    const std::string path = testing::TempDir() + "/pktgen_write_file_test";
    ASSERT_TRUE(write_file(path, "one, which is longer").has_value());
    ASSERT_TRUE(write_file(path, "two").has_value());
    std::ifstream file(path);
    std::string text((std::istreambuf_iterator<char>(file)), {});
    EXPECT_EQ(text, "two");
    struct stat seen{};
    ASSERT_EQ(stat(path.c_str(), &seen), 0);
    EXPECT_EQ(seen.st_mode & 0777U, 0644U);
    EXPECT_TRUE(write_file("/dev/null", "x").has_value());
    ASSERT_EQ(stat("/dev/null", &seen), 0);
    EXPECT_TRUE(S_ISCHR(seen.st_mode));
    const auto failed = write_file("/nonexistent/x.json", "x");
    ASSERT_FALSE(failed.has_value());
    EXPECT_THAT(failed.error().message, HasSubstr("/nonexistent/x.json"));
    EXPECT_FALSE(write_file("/dev/full", "x").has_value());
}

// For a look at the pictures: SLUICE_PICTURES names a folder.
TEST(ReportSvg, PicturesToLookAt) {
    const char* const folder = std::getenv("SLUICE_PICTURES");
    if (folder == nullptr) {
        GTEST_SKIP() << "SLUICE_PICTURES is not set";
    }
    ASSERT_TRUE(write_file(std::string(folder) + "/run.svg", report_svg(run_report())).has_value());
    ASSERT_TRUE(write_file(std::string(folder) + "/throughput.svg", report_svg(throughput_report()))
                    .has_value());
    ASSERT_TRUE(
        write_file(std::string(folder) + "/connections.svg", report_svg(connection_report()))
            .has_value());
}

}  // namespace
}  // namespace sluice::pktgen
