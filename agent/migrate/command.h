// Runs one program to its end, with a limit on time and on what is kept of its words. Only agent/migrate does that, and
// only for the programs of iptables, whose kernel interface has no library.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "api/base/result.h"

namespace sluice::migrate {

inline constexpr std::chrono::milliseconds kCommandTimeout{120'000};
inline constexpr std::uint64_t kMaxCommandOutput = 1ULL << 30U;
inline constexpr std::size_t kMaxErrorText = 4096;

// Where the program is, in the directories for system programs; empty if it is nowhere.
[[nodiscard]] std::string find_program(const std::string& name);

// input: its standard input. take: called with pieces of its standard output; an error of it ends the program.
// kDeadlineExceeded and kResourceExhausted are the limits; an exit code other than 0 is kUnavailable with the
// first line that it wrote to standard error. The child has no signal blocked, whatever the caller has.
Result<void> run_command(const std::vector<std::string>& argv, std::string_view input,
                         const std::function<Result<void>(std::string_view)>& take,
                         std::chrono::milliseconds timeout = kCommandTimeout);

}  // namespace sluice::migrate
