#include "control/cni/config.h"

#include <fmt/core.h>

#include <algorithm>
#include <boost/json.hpp>

namespace sluice::cni {
namespace {

namespace json = boost::json;

// IPv6 links carry no less (RFC 8200, section 5), IPv4 ones no less than 68 (RFC 791); a veth no
// more than 65535.
constexpr std::int64_t kMinMtuV4 = 68;
constexpr std::int64_t kMinMtuV6 = 1280;
constexpr std::int64_t kMaxMtu = 65535;
constexpr std::size_t kMaxDepth = 16;

// Keys that a runtime adds or that every network configuration may carry and that ask nothing of
// this plugin.
constexpr std::array<std::string_view, 8> kNeutralKeys = {
    "cniVersion",   "type",      "args",        "runtimeConfig",
    "disableCheck", "disableGC", "cniVersions", "loadOnlyInlinedPlugins"};

template <class... Args>
tl::unexpected<CniError> refuse(CniCode code, fmt::format_string<Args...> format, Args&&... args) {
    return tl::unexpected(CniError{code, fmt::format(format, std::forward<Args>(args)...), ""});
}

bool is_word(std::string_view text, std::string_view punctuation) {
    return std::all_of(text.begin(), text.end(), [&](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               punctuation.find(c) != std::string_view::npos;
    });
}

// The specification's name: starts with a letter or digit, then also "_", "." and "-".
bool is_identifier(std::string_view text, std::size_t limit) {
    return !text.empty() && text.size() <= limit && is_word(text.substr(0, 1), "") &&
           is_word(text, "_.-");
}

bool is_ifname(std::string_view text) {
    return !text.empty() && text.size() <= kMaxIfname && text != "." && text != ".." &&
           text.find_first_of("/: \t\n\r\f\v") == std::string_view::npos;
}

bool is_absolute_path(std::string_view text) {
    return text.size() > 1 && text.size() <= kMaxPath && text.front() == '/' &&
           text.find('\0') == std::string_view::npos &&
           text.find("/../") == std::string_view::npos && !text.ends_with("/..");
}

CniResult<std::string> string_field(const json::object& object, std::string_view key) {
    const json::value* const value = object.if_contains(key);
    if (value == nullptr) return std::string();
    if (!value->is_string()) {
        return refuse(CniCode::kInvalidConfig, "{} must be a string", key);
    }
    return std::string(value->get_string());
}

CniResult<json::object> decode(std::string_view text) {
    if (text.size() > kMaxConfigBytes) {
        return refuse(CniCode::kUndecodable, "the network configuration is longer than {} bytes",
                      kMaxConfigBytes);
    }
    json::parse_options options;
    options.max_depth = kMaxDepth;
    boost::system::error_code error;
    json::value value = json::parse(text, error, {}, options);
    if (error) {
        return refuse(CniCode::kUndecodable, "the network configuration is not JSON: {}",
                      error.message());
    }
    if (!value.is_object()) {
        return refuse(CniCode::kUndecodable, "the network configuration must be a JSON object");
    }
    return std::move(value.get_object());
}

CniResult<void> read_pod_cidrs(const json::value& value, Config& config) {
    const json::array* const list = value.if_array();
    if (list == nullptr || list->empty() || list->size() > 2) {
        return refuse(CniCode::kInvalidConfig,
                      "podCIDRs must be a list of one or two ranges, one of a family");
    }
    for (std::size_t i = 0; i < list->size(); ++i) {
        const json::string* const text = (*list)[i].if_string();
        if (text == nullptr) {
            return refuse(CniCode::kInvalidConfig, "podCIDRs[{}] must be a string", i);
        }
        auto prefix = IpPrefix::parse(std::string_view(*text));
        if (!prefix) {
            return refuse(CniCode::kInvalidConfig, "podCIDRs[{}]: {}", i, prefix.error().message);
        }
        if (prefix->address.is_multicast() || prefix->address.is_loopback() ||
            prefix->address.is_link_local() || prefix->address.is_unspecified()) {
            return refuse(CniCode::kInvalidConfig, "podCIDRs[{}]: {} cannot be given to pods", i,
                          prefix->to_string());
        }
        if (!config.pod_cidrs.empty() && config.pod_cidrs[0].family() == prefix->family()) {
            return refuse(CniCode::kInvalidConfig, "podCIDRs: {} and {} are of the same family",
                          config.pod_cidrs[0].to_string(), prefix->to_string());
        }
        config.pod_cidrs.push_back(*prefix);
    }
    return {};
}

CniResult<void> read_mtu(const json::value& value, Config& config) {
    const bool v6 =
        std::any_of(config.pod_cidrs.begin(), config.pod_cidrs.end(),
                    [](const IpPrefix& cidr) { return cidr.family() == IpFamily::kIpv6; });
    const std::int64_t least = v6 ? kMinMtuV6 : kMinMtuV4;
    const std::int64_t* const number = value.if_int64();
    if (number == nullptr || *number < least || *number > kMaxMtu) {
        return refuse(CniCode::kInvalidConfig, "mtu must be a whole number of bytes from {} to {}",
                      least, kMaxMtu);
    }
    config.mtu = static_cast<std::uint32_t>(*number);
    return {};
}

// The addresses of a result of 0.3.0 or later: {"ips": [{"address": "10.244.0.5/32"}]}.
CniResult<void> read_previous(const json::value& value, Config& config) {
    const json::object* const result = value.if_object();
    if (result == nullptr) {
        return refuse(CniCode::kInvalidConfig, "prevResult must be an object");
    }
    std::vector<IpAddress> addresses;
    if (const json::value* const ips = result->if_contains("ips")) {
        const json::array* const list = ips->if_array();
        if (list == nullptr)
            return refuse(CniCode::kInvalidConfig, "prevResult.ips must be a list");
        for (std::size_t i = 0; i < list->size(); ++i) {
            const json::object* const ip = (*list)[i].if_object();
            const json::value* const address = ip != nullptr ? ip->if_contains("address") : nullptr;
            const json::string* const text = address != nullptr ? address->if_string() : nullptr;
            auto prefix = text != nullptr
                              ? IpPrefix::parse(std::string_view(*text), true)
                              : Result<IpPrefix>(make_error(Code::kInvalidArgument, ""));
            // The host bits count here, so that the text before the slash is read once more.
            auto host = prefix
                            ? IpAddress::parse(std::string_view(*text).substr(0, text->find('/')))
                            : Result<IpAddress>(make_error(Code::kInvalidArgument, ""));
            if (!host) {
                return refuse(CniCode::kInvalidConfig,
                              "prevResult.ips[{}].address must be an address with a prefix length",
                              i);
            }
            addresses.push_back(*host);
        }
    }
    config.previous = std::move(addresses);
    return {};
}

CniResult<void> read_attachments(const json::value& value, Config& config) {
    const json::array* const list = value.if_array();
    if (list == nullptr || list->size() > kMaxAttachments) {
        return refuse(CniCode::kInvalidConfig,
                      "cni.dev/valid-attachments must be a list of at most {} attachments",
                      kMaxAttachments);
    }
    for (std::size_t i = 0; i < list->size(); ++i) {
        const json::object* const item = (*list)[i].if_object();
        AttachmentId id;
        if (item != nullptr) {
            auto container = string_field(*item, "containerID");
            auto ifname = string_field(*item, "ifname");
            if (container && ifname) id = {*container, *ifname};
        }
        // A wrong entry taken for absent would cut off a living container, so that nothing is
        // collected then.
        if (!is_identifier(id.container_id, kMaxContainerId) || !is_ifname(id.ifname)) {
            return refuse(CniCode::kInvalidConfig,
                          "cni.dev/valid-attachments[{}] needs a containerID and an ifname", i);
        }
        config.valid_attachments.push_back(std::move(id));
    }
    return {};
}

CniResult<void> read_capabilities(const json::value& value) {
    const json::object* const object = value.if_object();
    if (object == nullptr) return refuse(CniCode::kInvalidConfig, "capabilities must be an object");
    for (const auto& [name, wanted] : *object) {
        if (wanted.is_bool() && !wanted.get_bool()) continue;
        return refuse(CniCode::kUnsupportedField, "capabilities.{}: {} has no capabilities",
                      std::string_view(name), kPluginType);
    }
    return {};
}

// Refuses what this plugin would have to act on and does not, and what nobody defined.
CniResult<void> check_keys(const json::object& object) {
    for (const auto& [key, value] : object) {
        const std::string_view name = key;
        if (name == "ipMasq") {
            if (value.is_bool() && !value.get_bool()) continue;
            return refuse(CniCode::kUnsupportedField,
                          "ipMasq: pods reach each other without source NAT; leave it out");
        }
        if (name == "ipam") {
            return refuse(CniCode::kUnsupportedField,
                          "ipam: {} takes addresses from podCIDRs itself; leave ipam out",
                          kPluginType);
        }
        if (name == "dns") {
            return refuse(CniCode::kUnsupportedField,
                          "dns: the kubelet writes resolv.conf; leave dns out");
        }
        if (name == "name" || name == "podCIDRs" || name == "mtu" || name == "dataDir" ||
            name == "prevResult" || name == "capabilities" || name.starts_with("cni.dev/") ||
            std::find(kNeutralKeys.begin(), kNeutralKeys.end(), name) != kNeutralKeys.end()) {
            continue;
        }
        return refuse(CniCode::kInvalidConfig, "{}: unknown field", name.substr(0, 64));
    }
    return {};
}

CniResult<void> read_name_and_version(const json::object& object, Config& config) {
    const auto version = string_field(object, "cniVersion");
    const auto name = string_field(object, "name");
    const auto type = string_field(object, "type");
    if (!version) return tl::unexpected(version.error());
    if (!name) return tl::unexpected(name.error());
    if (!type) return tl::unexpected(type.error());
    if (std::find(kVersions.begin(), kVersions.end(), *version) == kVersions.end()) {
        return tl::unexpected(
            CniError{CniCode::kIncompatibleVersion,
                     version->empty()
                         ? std::string("cniVersion is missing")
                         : fmt::format("cniVersion {} is not supported", version->substr(0, 32)),
                     fmt::format("supported are {} to {}", kVersions.front(), kVersions.back())});
    }
    if (!is_identifier(*name, kMaxNetworkName)) {
        return refuse(
            CniCode::kInvalidConfig,
            "name must be 1 to {} letters, digits, '.', '-' and '_', a letter or digit first",
            kMaxNetworkName);
    }
    if (*type != kPluginType && *type != kLoopbackType) {
        return refuse(CniCode::kInvalidConfig, "type must be {} or {}", kPluginType, kLoopbackType);
    }
    config.loopback = *type == kLoopbackType;
    config.cni_version = *version;
    config.name = *name;
    return {};
}

CniResult<void> read_fields(const json::object& object, Command command, Config& config) {
    if (auto done = read_name_and_version(object, config); !done) return done;
    if (auto done = check_keys(object); !done) return done;
    if (const json::value* const value = object.if_contains("capabilities")) {
        if (auto done = read_capabilities(*value); !done) return done;
    }
    if (config.loopback) {
        for (const std::string_view key : {"podCIDRs", "mtu", "dataDir"}) {
            if (!object.contains(key)) continue;
            return refuse(CniCode::kInvalidConfig, "{} does not go with type {}", key,
                          kLoopbackType);
        }
        return {};
    }
    if (const json::value* const value = object.if_contains("podCIDRs")) {
        if (auto done = read_pod_cidrs(*value, config); !done) return done;
    } else if (command == Command::kAdd || command == Command::kCheck ||
               command == Command::kStatus) {
        return refuse(CniCode::kInvalidConfig, "podCIDRs is missing");
    }
    if (const json::value* const value = object.if_contains("mtu")) {
        if (auto done = read_mtu(*value, config); !done) return done;
    }
    if (object.contains("dataDir")) {
        const auto dir = string_field(object, "dataDir");
        if (!dir) return tl::unexpected(dir.error());
        if (!is_absolute_path(*dir)) {
            return refuse(CniCode::kInvalidConfig, "dataDir must be an absolute path without '..'");
        }
        config.data_dir = *dir;
    }
    if (const json::value* const value = object.if_contains("prevResult")) {
        if (command == Command::kAdd) {
            return refuse(
                CniCode::kUnsupportedField,
                "prevResult: {} makes the interface and must be the first plugin of its list",
                kPluginType);
        }
        if (command == Command::kCheck) {
            if (auto done = read_previous(*value, config); !done) return done;
        }
    } else if (command == Command::kCheck) {
        return refuse(CniCode::kInvalidConfig,
                      "prevResult is missing; CHECK needs the result of ADD");
    }
    if (command == Command::kGc) {
        const json::value* const value = object.if_contains("cni.dev/valid-attachments");
        if (value == nullptr) {
            return refuse(CniCode::kInvalidConfig, "cni.dev/valid-attachments is missing");
        }
        if (auto done = read_attachments(*value, config); !done) return done;
    }
    return {};
}

}  // namespace

std::string_view command_name(Command command) {
    switch (command) {
        case Command::kAdd: return "ADD";
        case Command::kDel: return "DEL";
        case Command::kCheck: return "CHECK";
        case Command::kVersion: return "VERSION";
        case Command::kStatus: return "STATUS";
        case Command::kGc: return "GC";
    }
    return "";
}

CniResult<Command> parse_command(std::string_view name) {
    for (const Command command : {Command::kAdd, Command::kDel, Command::kCheck, Command::kVersion,
                                  Command::kStatus, Command::kGc}) {
        if (name == command_name(command)) return command;
    }
    if (name.empty()) {
        return tl::unexpected(CniError{CniCode::kInvalidEnvironment, "CNI_COMMAND is not set",
                                       "a container runtime runs this program; see --help"});
    }
    return refuse(CniCode::kInvalidEnvironment,
                  "CNI_COMMAND {} is none of ADD, DEL, CHECK, VERSION, STATUS, GC",
                  name.substr(0, 32));
}

std::string version_of(std::string_view text) {
    const auto object = decode(text);
    if (!object) return "";
    const auto version = string_field(*object, "cniVersion");
    return version ? *version : "";
}

CniResult<Config> parse_config(std::string_view text, Command command) {
    auto object = decode(text);
    if (!object) return tl::unexpected(object.error());
    Config config;
    if (auto done = read_fields(*object, command, config); !done) {
        return tl::unexpected(done.error());
    }
    return config;
}

CniResult<void> check_environment(const Environment& environment, Command command,
                                  const Config& config) {
    const std::string_view cni_version = config.cni_version;
    if ((command == Command::kCheck && cni_version < "0.4.0") ||
        ((command == Command::kStatus || command == Command::kGc) && cni_version < "1.1.0")) {
        return refuse(CniCode::kIncompatibleVersion, "cniVersion {} has no {}", cni_version,
                      command_name(command));
    }
    if (command == Command::kVersion || command == Command::kStatus || command == Command::kGc) {
        return {};
    }
    if (!is_identifier(environment.container_id, kMaxContainerId)) {
        return refuse(CniCode::kInvalidEnvironment,
                      "CNI_CONTAINERID must be 1 to {} letters, digits, '.', '-' and '_', a letter "
                      "or digit first",
                      kMaxContainerId);
    }
    if (!is_ifname(environment.ifname)) {
        return refuse(CniCode::kInvalidEnvironment,
                      "CNI_IFNAME must be 1 to {} characters, none of them '/', ':' or space",
                      kMaxIfname);
    }
    if (environment.netns.empty() ? command != Command::kDel
                                  : !is_absolute_path(environment.netns)) {
        return refuse(CniCode::kInvalidEnvironment, "CNI_NETNS must be an absolute path");
    }
    if ((environment.ifname == "lo") != config.loopback) {
        return refuse(CniCode::kInvalidEnvironment, "CNI_IFNAME must {}be lo for type {}",
                      config.loopback ? "" : "not ", config.loopback ? kLoopbackType : kPluginType);
    }
    return {};
}

}  // namespace sluice::cni
