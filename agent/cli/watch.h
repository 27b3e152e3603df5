// The subcommands that look at live traffic: `flows`, `top`, `drops`. Each writes to stdout and ends by itself, or with
// SIGINT or SIGTERM.
#pragma once

#include <cstdint>
#include <string>

#include "agent/cli/render.h"
#include "agent/cli/render_traffic.h"
#include "agent/cli/tables.h"
#include "api/base/result.h"

namespace sluice::cli {

struct FlowOptions {
    TableSource source;
    Format format = Format::kTable;
    std::string service, backend, client, state;
    std::size_t limit = 1000;
    bool follow = false;
    std::uint32_t sample = 1;
};

struct TopOptions {
    TableSource source;
    Format format = Format::kTable;
    std::size_t count = 20;
    TopOrder order = TopOrder::kPackets;
    double interval_s = 2;
    bool once = false;
    bool backends = false;
};

struct DropOptions {
    TableSource source;
    Format format = Format::kTable;
    bool follow = false;
    std::uint32_t sample = 1;
};

Result<void> show_flows(const FlowOptions& options);
Result<void> show_top(const TopOptions& options);
Result<void> show_drops(const DropOptions& options);

Result<TopOrder> parse_order(const std::string& text);

}  // namespace sluice::cli
