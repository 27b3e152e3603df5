// Text to configuration and back, by the list of fields.
#include <boost/json.hpp>
#include <map>

#include "agent/config/config.h"
#include "agent/config/fields.h"
#include "agent/config/values.h"
#include "api/codec/yaml.h"

namespace sluice::config {
namespace {

namespace json = boost::json;

Error at(std::string_view path, const Error& error) {
    return Error{error.code, fmt::format("{}.{}: {}", kKind, path, error.message), 0};
}

class Decoder {
public:
    explicit Decoder(KubeProxyConfig* config) {
        for (const Field& field : fields(config)) slots_.emplace(field.path, field.slot);
    }

    Result<void> decode(const json::object& object, const std::string& prefix) {
        for (const auto& [key, value] : object) {
            const std::string path = prefix + std::string(key);
            if (prefix.empty() && (path == "apiVersion" || path == "kind")) continue;
            const auto found = slots_.find(path);
            if (found != slots_.end()) {
                if (auto read = from_json(value, found->second); !read) return at(path, read.error());
                continue;
            }
            if (!is_group(path)) {
                return make_error(Code::kInvalidArgument, "{}: unknown field \"{}\"", kKind, path);
            }
            if (value.is_null()) continue;
            if (!value.is_object()) {
                return make_error(Code::kInvalidArgument, "{}.{}: must be an object", kKind, path);
            }
            SLUICE_TRY(decode(value.get_object(), path + "."));
        }
        return {};
    }

private:
    // Whether some field's path begins with "path.".
    bool is_group(const std::string& path) const {
        const auto next = slots_.lower_bound(path + ".");
        return next != slots_.end() && next->first.starts_with(path + ".");
    }

    std::map<std::string, Slot, std::less<>> slots_;
};

Result<void> check_type(const json::object& object) {
    const auto text = [&](const char* key) -> std::string {
        const auto* value = object.if_contains(key);
        return value != nullptr && value->is_string() ? std::string(value->get_string()) : "";
    };
    const std::string version = text("apiVersion");
    const std::string kind = text("kind");
    if (kind.empty() || version.empty()) {
        return make_error(Code::kInvalidArgument,
                          "apiVersion and kind are missing or no strings; \"{}\" and \"{}\" are read",
                          kApiVersion, kKind);
    }
    if (kind != kKind) {
        return make_error(Code::kInvalidArgument, "kind \"{}\" is not \"{}\"", kind, kKind);
    }
    if (version != kApiVersion) {
        return make_error(Code::kInvalidArgument, "apiVersion \"{}\" is not \"{}\"", version,
                          kApiVersion);
    }
    return {};
}

void put(json::object* object, std::string_view path, json::value value) {
    const auto dot = path.find('.');
    if (dot == std::string_view::npos) {
        (*object)[path] = std::move(value);
        return;
    }
    json::value& group = (*object)[path.substr(0, dot)];
    if (!group.is_object()) group.emplace_object();
    put(&group.get_object(), path.substr(dot + 1), std::move(value));
}

json::object encode(const KubeProxyConfig& config) {
    KubeProxyConfig copy = config;
    json::object out;
    out["apiVersion"] = kApiVersion;
    out["kind"] = kKind;
    for (const Field& field : fields(&copy)) {
        // Upstream's decoder of this version does not know the list; clusterCIDR says the same.
        if (field.path == "detectLocal.clusterCIDRs" && is_empty(field.slot)) continue;
        put(&out, field.path, to_json(field.slot));
    }
    return out;
}

}  // namespace

Result<KubeProxyConfig> parse_config(std::string_view text) {
    if (text.size() > kMaxConfigBytes) {
        return make_error(Code::kResourceExhausted, "{} bytes; at most {} are read", text.size(),
                          kMaxConfigBytes);
    }
    // JSON is YAML as well, duplicate keys refused in either.
    SLUICE_TRY_ASSIGN(const json::value document, codec::yaml_to_json(text));
    if (!document.is_object()) {
        return make_error(Code::kInvalidArgument, "is no object; a {} is read", kKind);
    }
    SLUICE_TRY(check_type(document.get_object()));
    KubeProxyConfig config;
    SLUICE_TRY(Decoder(&config).decode(document.get_object(), ""));
    return config;
}

std::string to_yaml(const KubeProxyConfig& config) { return codec::json_to_yaml(encode(config)); }

std::string configz(const Config& config) {
    json::object own;
    OwnConfig copy = config.own;
    for (const Field& field : own_fields(&copy)) own[field.path] = to_json(field.slot);
    own["config"] = config.file;
    own["node-name"] = config.effective.node_name;
    json::object out;
    out["kubeproxy.config.k8s.io"] = encode(config.kube_proxy);
    out["sluice"] = std::move(own);
    return json::serialize(out) + "\n";
}

}  // namespace sluice::config
