// The words of the CNI specification that the parts of the plugin share: versions, error codes, one
// invocation. Source: the Container Network Interface Specification, versions 0.3.0 to 1.1.0.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "api/base/ip_address.h"
#include "api/base/result.h"

namespace sluice::cni {

inline constexpr std::string_view kPluginType = "sluice-cni";
// containerd asks for a plugin of this name for each sandbox, so that the program also answers to
// it.
inline constexpr std::string_view kLoopbackType = "loopback";
inline constexpr std::string_view kDefaultDataDir = "/run/sluice/cni";

// Oldest first. CHECK exists from 0.4.0 on, STATUS and GC from 1.1.0 on.
inline constexpr std::array<std::string_view, 5> kVersions = {"0.3.0", "0.3.1", "0.4.0", "1.0.0",
                                                              "1.1.0"};

// Limits of what a caller may send; a longer text is refused by name.
inline constexpr std::size_t kMaxConfigBytes = 1 << 20;
inline constexpr std::size_t kMaxContainerId = 128;
inline constexpr std::size_t kMaxNetworkName = 64;
inline constexpr std::size_t kMaxIfname = 15;  // IFNAMSIZ without the terminator
inline constexpr std::size_t kMaxPath = 4095;
inline constexpr std::size_t kMaxAttachments = 65536;  // of one GC

// Numbers below 100 are the specification's; from 100 on they are a plugin's own.
enum class CniCode : std::uint16_t {
    kIncompatibleVersion = 1,
    kUnsupportedField = 2,
    kUnknownContainer = 3,
    kInvalidEnvironment = 4,
    kIoFailure = 5,
    kUndecodable = 6,
    kInvalidConfig = 7,
    kTryAgainLater = 11,
    kNotAvailable = 50,  // STATUS: ADD would fail
    kAlreadyAttached = 100,
    kCheckFailed = 101,
};

struct CniError {
    CniCode code = CniCode::kIoFailure;
    std::string message;
    std::string details;
};

template <class T>
using CniResult = tl::expected<T, CniError>;

// What names an attachment: a container may have several interfaces.
struct AttachmentId {
    std::string container_id;
    std::string ifname;

    auto operator<=>(const AttachmentId&) const = default;
};

// The environment of one invocation, as the runtime gave it; empty where it did not.
struct Environment {
    std::string command;
    std::string container_id;
    std::string netns;
    std::string ifname;
};

// The network configuration on standard input.
struct Config {
    std::string cni_version;
    std::string name;
    bool loopback = false;  // type is kLoopbackType: lo is set up and nothing else
    std::string data_dir{kDefaultDataDir};
    // At most one of a family, in the order given: the order of the addresses in the result.
    std::vector<IpPrefix> pod_cidrs;
    std::optional<std::uint32_t> mtu;  // bytes; unset: what the kernel gives a veth
    // CHECK: the addresses of the result of ADD; unset when the configuration holds no prevResult.
    std::optional<std::vector<IpAddress>> previous;
    std::vector<AttachmentId> valid_attachments;  // GC: those that still live
};

}  // namespace sluice::cni
