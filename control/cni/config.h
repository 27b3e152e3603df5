// Reads what a container runtime sends: the network configuration and the environment. Every byte
// is hostile. Pure; thread-safe.
#pragma once

#include <string_view>

#include "control/cni/types.h"

namespace sluice::cni {

enum class Command : std::uint8_t { kAdd, kDel, kCheck, kVersion, kStatus, kGc };

[[nodiscard]] std::string_view command_name(Command command);

// kInvalidEnvironment for a name that is no command.
CniResult<Command> parse_command(std::string_view name);

// The cniVersion of a configuration, also of one that cannot be used, so that an error is answered
// in the version that was asked for; empty if there is none.
[[nodiscard]] std::string version_of(std::string_view json);

// Errors name the field: kUndecodable (not JSON, or too large), kIncompatibleVersion,
// kUnsupportedField (a feature that is not here), kInvalidConfig. A key that no version of the
// specification knows is refused, for it is a misspelled one.
CniResult<Config> parse_config(std::string_view json, Command command);

// Whether the version of the configuration has the command, and the environment all that the
// command needs.
CniResult<void> check_environment(const Environment& environment, Command command,
                                  const Config& config);

}  // namespace sluice::cni
