// fieldRef and resourceFieldRef; see environment.h.
#include <algorithm>
#include <map>
#include <optional>

#include "api/codec/quantity.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "control/kubelet/environment/environment.h"

namespace sluice::kubelet {
namespace {

using Strings = google::protobuf::Map<std::string, std::string>;

bool is_continuation(char c) { return (static_cast<unsigned char>(c) & 0xC0U) == 0x80U; }

// Bytes of the UTF-8 sequence at `at`, 0 when there is none that is well-formed.
std::size_t utf8_length(std::string_view text, std::size_t at) {
    const auto lead = static_cast<unsigned char>(text[at]);
    std::size_t length = 0;
    if (lead >= 0xC2 && lead <= 0xDF) length = 2;
    if (lead >= 0xE0 && lead <= 0xEF) length = 3;
    if (lead >= 0xF0 && lead <= 0xF4) length = 4;
    if (length == 0 || at + length > text.size()) return 0;
    for (std::size_t i = 1; i < length; ++i) {
        if (!is_continuation(text[at + i])) return 0;
    }
    return length;
}

// As Go's %q writes a string: labels and annotations as files have this form, and programs read it.
std::string go_quote(std::string_view text) {
    std::string out = "\"";
    for (std::size_t at = 0; at < text.size();) {
        const char c = text[at];
        const auto byte = static_cast<unsigned char>(c);
        if (byte >= 0x80) {
            const std::size_t length = utf8_length(text, at);
            if (length > 0) {
                out.append(text.substr(at, length));
                at += length;
                continue;
            }
        }
        ++at;
        switch (c) {
            case '"': out += "\\\""; break;
            case '\\': out += "\\\\"; break;
            case '\a': out += "\\a"; break;
            case '\b': out += "\\b"; break;
            case '\f': out += "\\f"; break;
            case '\n': out += "\\n"; break;
            case '\r': out += "\\r"; break;
            case '\t': out += "\\t"; break;
            case '\v': out += "\\v"; break;
            default:
                if (byte < 0x20 || byte >= 0x7F) {
                    out += fmt::format("\\x{:02x}", byte);
                } else {
                    out.push_back(c);
                }
        }
    }
    return out + "\"";
}

std::string format_map(const Strings& strings) {
    const std::map<std::string, std::string> sorted(strings.begin(), strings.end());
    std::string out;
    for (const auto& [key, value] : sorted) {
        if (!out.empty()) out.push_back('\n');
        out += key + "=" + go_quote(value);
    }
    return out;
}

std::string join(const std::vector<std::string>& parts) {
    std::string out;
    for (const auto& part : parts) out += (out.empty() ? "" : ",") + part;
    return out;
}

std::string first(const std::vector<std::string>& parts) {
    return parts.empty() ? "" : parts.front();
}

// The key of "metadata.labels['KEY']" when path begins with `prefix`.
std::optional<std::string> subscript(std::string_view path, std::string_view prefix) {
    if (!path.starts_with(prefix)) return std::nullopt;
    path.remove_prefix(prefix.size());
    if (path.size() < 4 || !path.starts_with("['") || !path.ends_with("']")) return std::nullopt;
    return std::string(path.substr(2, path.size() - 4));
}

std::string value_of(const Strings& strings, const std::string& key) {
    const auto found = strings.find(key);
    return found == strings.end() ? "" : found->second;
}

// The quantity under `name`; zero when there is none or it is malformed, which the API server does
// not let through.
codec::Quantity quantity_of(const auto& quantities, const std::string& name) {
    const auto found = quantities.find(name);
    if (found == quantities.end()) return {};
    return codec::Quantity::parse(found->second.string()).value_or(codec::Quantity());
}

std::int64_t divide_up(std::int64_t value, std::int64_t divisor) {
    if (divisor <= 0) divisor = 1;
    const std::int64_t quotient = value / divisor;
    return value % divisor > 0 ? quotient + 1 : quotient;
}

}  // namespace

Result<std::string> field_value(const corev1::Pod& pod, const PodFacts& facts,
                                std::string_view field_path) {
    const auto& metadata = pod.metadata();
    if (const auto key = subscript(field_path, "metadata.labels")) {
        return value_of(metadata.labels(), *key);
    }
    if (const auto key = subscript(field_path, "metadata.annotations")) {
        return value_of(metadata.annotations(), *key);
    }
    if (field_path == "metadata.name") return metadata.name();
    if (field_path == "metadata.namespace") return metadata.namespace_();
    if (field_path == "metadata.uid") return metadata.uid();
    if (field_path == "metadata.labels") return format_map(metadata.labels());
    if (field_path == "metadata.annotations") return format_map(metadata.annotations());
    if (field_path == "spec.nodeName") {
        return pod.spec().nodename().empty() ? facts.node_name : pod.spec().nodename();
    }
    if (field_path == "spec.serviceAccountName") return pod.spec().serviceaccountname();
    if (field_path == "status.hostIP") return first(facts.host_ips);
    if (field_path == "status.hostIPs") return join(facts.host_ips);
    if (field_path == "status.podIP") return first(facts.pod_ips);
    if (field_path == "status.podIPs") return join(facts.pod_ips);
    return make_error(Code::kInvalidArgument, "unsupported fieldPath: {}", field_path);
}

Result<std::string> resource_value(const corev1::Container& container, const PodFacts& facts,
                                   std::string_view resource, std::string_view divisor) {
    std::int64_t divisor_units = 1;
    std::int64_t divisor_milli = 1000;
    if (!divisor.empty()) {
        auto parsed = codec::Quantity::parse(divisor);
        if (!parsed) return parsed.error().with_context(fmt::format("divisor of {}", resource));
        if (!parsed->is_zero()) {
            divisor_units = parsed->units();
            divisor_milli = parsed->milli();
        }
    }
    const std::size_t dot = resource.find('.');
    const std::string_view side = resource.substr(0, dot);
    const std::string name(dot == std::string_view::npos ? "" : resource.substr(dot + 1));
    const bool known_name = name == "cpu" || name == "memory" || name == "ephemeral-storage" ||
                            name.starts_with("hugepages-");
    if ((side != "limits" && side != "requests") || !known_name) {
        return make_error(Code::kInvalidArgument, "unsupported container resource : {}", resource);
    }
    const bool limits = side == "limits";
    const auto& quantities =
        limits ? container.resources().limits() : container.resources().requests();
    const codec::Quantity quantity = quantity_of(quantities, name);
    if (name == "cpu") {
        const bool of_node = limits && quantity.is_zero();
        return std::to_string(
            divide_up(of_node ? facts.node_cpu_milli : quantity.milli(), divisor_milli));
    }
    std::int64_t units = quantity.units();
    // A container without a limit may use what the node has.
    if (limits && units == 0 && name == "memory") units = facts.node_memory_bytes;
    if (limits && units == 0 && name == "ephemeral-storage") {
        units = facts.node_ephemeral_storage_bytes;
    }
    return std::to_string(divide_up(units, divisor_units));
}

}  // namespace sluice::kubelet
