// What a run or a search showed, as files: JSON and CSV for programs, Markdown and SVG for people.
// All are pure functions of the report; names carry their units, and what is measured in one format
// has the same name in the others. The JSON is described in docs/pktgen.md.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "api/base/result.h"
#include "dataplane/pktgen/search.h"

namespace sluice::pktgen {

// Raised when a name of the JSON or a column of the CSV changes its meaning or goes; new ones do
// not raise it.
inline constexpr int kReportVersion = 1;

struct ThroughputReport {
    Profile profile;
    SearchOptions options;
    std::vector<ThroughputResult> sizes;
};

struct ConnectionReport {
    Profile profile;
    SearchOptions options;
    ConnectionRateResult found;
};

struct Report {
    std::string tool_version;
    std::string started_at;  // RFC 3339, UTC; empty: not said
    std::string command;     // as it was typed; empty: not said
    std::variant<RunResult, ThroughputReport, ConnectionReport> what;
};

// One object, two spaces a level.
[[nodiscard]] std::string report_json(const Report& report);
// One table (RFC 4180). The first column says what a row is: "sample" (a second of the run), "run",
// "trial" or "throughput" or "connections" (what a search found). Cells that a row has no value for
// are empty.
[[nodiscard]] std::string report_csv(const Report& report);
[[nodiscard]] std::string report_markdown(const Report& report);
[[nodiscard]] std::string report_svg(const Report& report);
// A few lines for a terminal, when the run is over.
[[nodiscard]] std::string report_text(const Report& report);

// The percentiles that reports list.
inline constexpr double kPercentiles[] = {50, 90, 99, 99.9, 99.99};

// 0 if nothing was sent.
[[nodiscard]] double loss_share(const RunResult& run);

// Written to a file beside `path` and renamed, so that a reader sees a whole one. "-" is standard
// output.
Result<void> write_file(const std::string& path, std::string_view text);

}  // namespace sluice::pktgen
