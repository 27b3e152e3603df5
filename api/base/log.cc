// See log.h.
#include "api/base/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <array>

namespace sluice::log {
namespace {

constexpr std::array<spdlog::level::level_enum, 6> kLevels = {
    spdlog::level::trace, spdlog::level::debug, spdlog::level::info,
    spdlog::level::warn,  spdlog::level::err,   spdlog::level::off};

spdlog::logger& logger() {
    static const std::shared_ptr<spdlog::logger> instance = [] {
        auto created = spdlog::stderr_color_mt("sluice");
        created->set_pattern("%Y-%m-%dT%H:%M:%S.%f%z %^%l%$ %v");
        created->set_level(spdlog::level::info);
        created->flush_on(spdlog::level::trace);
        return created;
    }();
    return *instance;
}

spdlog::level::level_enum to_spdlog(Level level) {
    return kLevels[static_cast<std::size_t>(level)];
}

}  // namespace

Result<Level> parse_level(std::string_view name) {
    if (name == "trace") return Level::kTrace;
    if (name == "debug") return Level::kDebug;
    if (name == "info") return Level::kInfo;
    if (name == "warn") return Level::kWarn;
    if (name == "error") return Level::kError;
    if (name == "off") return Level::kOff;
    return make_error(Code::kInvalidArgument,
                      "log level \"{}\" is none of trace, debug, info, warn, error, off", name);
}

void set_level(Level level) { logger().set_level(to_spdlog(level)); }

bool enabled(Level level) { return logger().should_log(to_spdlog(level)); }

void write(Level level, std::string_view component, std::string_view message) {
    logger().log(to_spdlog(level), "{}: {}", component, message);
}

}  // namespace sluice::log
