// The command line of sluice-pktgen as values: what to do, with which profile, ports and files. No
// EAL, no output.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "api/base/log.h"
#include "api/base/result.h"
#include "dataplane/pktgen/search.h"

namespace sluice::pktgen {

enum class Action : std::uint8_t {
    kRun,
    kThroughput,
    kConnections,
    kPorts,
    kPrint,  // `text`, and nothing else: help, version, a profile
};

struct Command {
    Action action = Action::kPrint;
    std::string text;
    Profile profile;
    SearchOptions search;
    RunnerOptions runner;
    std::vector<std::string> eal_arguments;
    std::string json, csv, markdown, svg;  // files; empty: none; "-": standard output
    std::optional<double> max_loss;        // share of the packets sent
    bool quiet = false;                    // no display
    log::Level log_level = log::Level::kInfo;
};

// Arguments without the program's name. What follows "--" is the EAL's. kInvalidArgument: wrong
// usage, with a sentence for the user; other codes: the profile's file cannot be read.
Result<Command> parse_command(const std::vector<std::string>& arguments);

// "0.001" or "0.1%".
Result<double> parse_share(std::string_view text);

}  // namespace sluice::pktgen
