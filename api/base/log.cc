// See log.h.
#include "api/base/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <array>
#include <atomic>
#include <chrono>
#include <ctime>
#include <memory>

namespace sluice::log {
namespace {

constexpr std::array<spdlog::level::level_enum, 6> kLevels = {
    spdlog::level::trace, spdlog::level::debug, spdlog::level::info,
    spdlog::level::warn,  spdlog::level::err,   spdlog::level::off};

constexpr char kTextPattern[] = "%Y-%m-%dT%H:%M:%S.%f%z %^%l%$ %v";
constexpr std::array<const char*, 6> kLevelNames = {"trace", "debug", "info", "warn", "error", "off"};
constexpr char kReplacement[] = "\\ufffd";

std::atomic<bool> as_json{false};

// Bytes of the UTF-8 sequence at the text's begin; 0 if there is none (overlong forms and surrogates are none).
std::size_t sequence_length(std::string_view text) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned char first = byte(0);
    if (first < 0x80) return 1;
    const std::size_t length = first >= 0xc2 && first < 0xe0   ? 2
                               : first >= 0xe0 && first < 0xf0 ? 3
                               : first >= 0xf0 && first < 0xf5 ? 4
                                                               : 0;
    if (length == 0 || text.size() < length) return 0;
    for (std::size_t i = 1; i < length; ++i) {
        if ((byte(i) & 0xc0U) != 0x80) return 0;
    }
    if ((first == 0xe0 && byte(1) < 0xa0) || (first == 0xed && byte(1) >= 0xa0)) return 0;
    if ((first == 0xf0 && byte(1) < 0x90) || (first == 0xf4 && byte(1) >= 0x90)) return 0;
    return length;
}

void append_quoted(std::string_view text, std::string* out) {
    out->push_back('"');
    while (!text.empty()) {
        const std::size_t length = sequence_length(text);
        const char c = text.front();
        if (length == 0) {
            out->append(kReplacement);
        } else if (c == '"' || c == '\\') {
            out->push_back('\\');
            out->push_back(c);
        } else if (c == '\n') {
            out->append("\\n");
        } else if (c == '\t') {
            out->append("\\t");
        } else if (length == 1 && static_cast<unsigned char>(c) < 0x20) {
            out->append(fmt::format("\\u{:04x}", static_cast<unsigned>(c)));
        } else {
            out->append(text.substr(0, length));
        }
        text.remove_prefix(length == 0 ? 1 : length);
    }
    out->push_back('"');
}

spdlog::logger& logger() {
    static const std::shared_ptr<spdlog::logger> instance = [] {
        auto created = spdlog::stderr_color_mt("sluice");
        created->set_pattern(kTextPattern);
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

Result<Format> parse_format(std::string_view name) {
    if (name == "text") return Format::kText;
    if (name == "json") return Format::kJson;
    return make_error(Code::kInvalidArgument, "log format \"{}\" is neither text nor json", name);
}

void set_format(Format format) {
    as_json.store(format == Format::kJson);
    logger().set_pattern(format == Format::kJson ? "%v" : kTextPattern);
}

std::string format_json(std::int64_t time_us, Level level, std::string_view component,
                        std::string_view message) {
    const std::time_t seconds = static_cast<std::time_t>(time_us / 1'000'000);
    std::tm broken{};
    ::gmtime_r(&seconds, &broken);
    std::string out = fmt::format(
        R"({{"time":"{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z","level":"{}","component":)",
        broken.tm_year + 1900, broken.tm_mon + 1, broken.tm_mday, broken.tm_hour, broken.tm_min,
        broken.tm_sec, time_us % 1'000'000, kLevelNames[static_cast<std::size_t>(level)]);
    append_quoted(component, &out);
    out.append(",\"message\":");
    append_quoted(message, &out);
    out.push_back('}');
    return out;
}

void write(Level level, std::string_view component, std::string_view message) {
    if (as_json.load()) {
        const auto now = std::chrono::system_clock::now().time_since_epoch();
        const auto us = std::chrono::duration_cast<std::chrono::microseconds>(now).count();
        logger().log(to_spdlog(level), "{}", format_json(us, level, component, message));
        return;
    }
    logger().log(to_spdlog(level), "{}: {}", component, message);
}

}  // namespace sluice::log
