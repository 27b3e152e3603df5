#include "control/store/encryption/config.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <boost/json/value.hpp>

#include "api/codec/json_text.h"
#include "api/codec/scheme.h"
#include "api/codec/yaml.h"

namespace sluice::store {

namespace {

namespace json = boost::json;

constexpr std::string_view kEncrypted = "k8s:enc:";
constexpr std::array<std::string_view, 4> kProviders{"aescbc", "aesgcm", "identity", "secretbox"};

Error invalid(std::string_view field, std::string_view why) {
    return make_error(Code::kInvalidArgument, "{}: {}", field, why);
}

Result<const json::array*> array_at(const json::object& object, std::string_view name,
                                    const std::string& field) {
    const json::value* found = object.if_contains(name);
    const json::array* array = found == nullptr ? nullptr : found->if_array();
    if (array == nullptr || array->empty()) {
        return invalid(field, "Required value: a list with one item at least");
    }
    return array;
}

Result<std::string> string_at(const json::object& object, std::string_view name,
                              const std::string& field) {
    const json::value* found = object.if_contains(name);
    const json::string* text = found == nullptr ? nullptr : found->if_string();
    if (text == nullptr || text->empty()) {
        return invalid(field, "Required value: a string that is not empty");
    }
    return std::string(text->data(), text->size());
}

Result<void> read_keys(const std::string& provider, const json::object& settings,
                       const std::string& field, std::vector<Transformer>* out) {
    SLUICE_TRY_ASSIGN(const json::array* keys, array_at(settings, "keys", field + ".keys"));
    for (std::size_t i = 0; i < keys->size(); ++i) {
        const std::string at = fmt::format("{}.keys[{}]", field, i);
        const json::object* key = (*keys)[i].if_object();
        if (key == nullptr) {
            return invalid(at, "Required value: name and secret");
        }
        SLUICE_TRY_ASSIGN(const std::string name, string_at(*key, "name", at + ".name"));
        if (name.find(':') != std::string::npos) {
            return invalid(at + ".name", "Invalid value: it must not contain a colon");
        }
        SLUICE_TRY_ASSIGN(const std::string encoded, string_at(*key, "secret", at + ".secret"));
        auto secret = codec::decode_base64(encoded);
        if (!secret) {
            // The codec's own words quote what it was given.
            return invalid(at + ".secret", "secret must be base64 encoded");
        }
        auto cipher = make_cipher(provider, std::move(*secret));
        if (!cipher) {
            return invalid(at + ".secret", cipher.error().message);
        }
        out->push_back({fmt::format("k8s:enc:{}:v1:{}:", provider, name), std::move(*cipher)});
        if (out->size() > kMaxEncryptionKeys) {
            return invalid(field, fmt::format("at most {} keys are allowed", kMaxEncryptionKeys));
        }
    }
    return {};
}

Result<void> read_provider(const json::value& value, const std::string& field,
                           std::vector<Transformer>* out) {
    const json::object* provider = value.if_object();
    if (provider == nullptr || provider->size() != 1) {
        return invalid(field, provider != nullptr && provider->size() > 1
                                  ? "Invalid value: more than one provider specified in a single "
                                    "element, should split into different list elements"
                                  : "Invalid value: provider does not contain any of the expected "
                                    "providers: KMS, AESGCM, AESCBC, Secretbox, Identity");
    }
    const std::string name(provider->begin()->key());
    if (std::find(kProviders.begin(), kProviders.end(), name) == kProviders.end()) {
        return invalid(field,
                       fmt::format("Unsupported value: \"{}\": supported values: \"aescbc\", "
                                   "\"aesgcm\", \"identity\", \"secretbox\"",
                                   name));
    }
    if (name == "identity") {
        out->push_back({});
        return {};
    }
    const json::object* settings = provider->begin()->value().if_object();
    if (settings == nullptr) {
        return invalid(field + "." + name + ".keys", "Required value: a list of keys");
    }
    return read_keys(name, *settings, field + "." + name, out);
}

Result<EncryptionRule> read_rule(const json::value& value, const std::string& field) {
    const json::object* object = value.if_object();
    if (object == nullptr) {
        return invalid(field, "Required value: resources and providers");
    }
    EncryptionRule rule;
    SLUICE_TRY_ASSIGN(const json::array* resources,
                      array_at(*object, "resources", field + ".resources"));
    for (std::size_t i = 0; i < resources->size(); ++i) {
        const std::string at = fmt::format("{}.resources[{}]", field, i);
        const json::string* name = (*resources)[i].if_string();
        if (name == nullptr || name->empty()) {
            return invalid(at, "Invalid value: not the name of a resource");
        }
        std::string text(name->data(), name->size());
        if (text == "*") {
            return invalid(at, "Invalid value: \"*\": use '*.' to encrypt all the resources from "
                               "core API group or *.* to encrypt all resources");
        }
        rule.resources.push_back(std::move(text));
    }
    SLUICE_TRY_ASSIGN(const json::array* providers,
                      array_at(*object, "providers", field + ".providers"));
    for (std::size_t i = 0; i < providers->size(); ++i) {
        SLUICE_TRY(read_provider((*providers)[i], fmt::format("{}.providers[{}]", field, i),
                                 &rule.transformers));
    }
    return rule;
}

struct Resource {
    std::string_view name;
    std::string_view group;
};

// Of keys as Kubernetes forms them: /registry/RESOURCE/..., /registry/GROUP/RESOURCE/... for custom
// resources, and some names of old.
Resource resource_of(std::string_view key) {
    constexpr std::string_view root = "/registry/";
    if (!key.starts_with(root)) {
        return {};
    }
    key.remove_prefix(root.size());
    const std::string_view first = key.substr(0, key.find('/'));
    const std::string_view rest = key.substr(std::min(key.size(), first.size() + 1));
    const std::string_view second = rest.substr(0, rest.find('/'));
    if (first == "services") {
        return {second == "specs" ? "services" : second, ""};
    }
    if (first == "minions") {
        return {"nodes", ""};
    }
    if (first.find('.') != std::string_view::npos) {
        return {second, first};
    }
    for (const codec::KindInfo& kind : codec::all_kinds()) {
        if (kind.resource == first) {
            return {first, kind.gvk.group};
        }
    }
    return {first, ""};
}

bool covers(std::string_view pattern, const Resource& resource) {
    const std::size_t dot = pattern.find('.');
    const std::string_view name = pattern.substr(0, dot);
    const std::string_view group =
        dot == std::string_view::npos ? std::string_view() : pattern.substr(dot + 1);
    return (name == "*" || name == resource.name) && (group == "*" || group == resource.group);
}

}  // namespace

Result<std::shared_ptr<const EncryptionConfig>> EncryptionConfig::parse(std::string_view text) {
    if (text.size() > kMaxEncryptionConfigBytes) {
        return invalid("EncryptionConfiguration",
                       fmt::format("it has more than {} bytes", kMaxEncryptionConfigBytes));
    }
    auto document = codec::yaml_to_json(text);
    if (!document) {
        // The reader's message may quote a line with a secret in it.
        return invalid("EncryptionConfiguration", "it is not valid YAML");
    }
    const json::object* root = document->if_object();
    if (root == nullptr) {
        return invalid("EncryptionConfiguration", "it is empty, or not an object");
    }
    SLUICE_TRY_ASSIGN(const std::string kind, string_at(*root, "kind", "kind"));
    SLUICE_TRY_ASSIGN(const std::string version, string_at(*root, "apiVersion", "apiVersion"));
    if (kind != "EncryptionConfiguration" || version != "apiserver.config.k8s.io/v1") {
        return invalid("kind", fmt::format("Invalid value: \"{}\" of \"{}\": it must be "
                                           "EncryptionConfiguration of apiserver.config.k8s.io/v1",
                                           kind, version));
    }
    SLUICE_TRY_ASSIGN(const json::array* resources, array_at(*root, "resources", "resources"));
    auto config = std::make_shared<EncryptionConfig>();
    for (std::size_t i = 0; i < resources->size(); ++i) {
        SLUICE_TRY_ASSIGN(EncryptionRule rule,
                          read_rule((*resources)[i], fmt::format("resources[{}]", i)));
        config->rules_.push_back(std::move(rule));
    }
    return std::shared_ptr<const EncryptionConfig>(std::move(config));
}

const EncryptionRule* EncryptionConfig::rule_for(std::string_view key) const {
    const Resource resource = resource_of(key);
    if (resource.name.empty()) {
        return nullptr;
    }
    for (const EncryptionRule& rule : rules_) {
        for (const std::string& pattern : rule.resources) {
            if (covers(pattern, resource)) {
                return &rule;
            }
        }
    }
    return nullptr;
}

Result<std::string> EncryptionConfig::seal(const EncryptionRule& rule, std::string_view plain,
                                           std::string_view context) {
    const Transformer& writes = rule.transformers.front();
    if (writes.cipher == nullptr) {
        return std::string(plain);
    }
    SLUICE_TRY_ASSIGN(const std::string sealed, writes.cipher->seal(plain, context));
    return writes.prefix + sealed;
}

Result<std::optional<Plain>> EncryptionConfig::open(const EncryptionRule& rule,
                                                    std::string_view stored,
                                                    std::string_view context) {
    const bool encrypted = stored.starts_with(kEncrypted);
    for (std::size_t i = 0; i < rule.transformers.size(); ++i) {
        const Transformer& transformer = rule.transformers[i];
        if (transformer.cipher == nullptr) {
            if (encrypted) {
                continue;
            }
            if (i == 0) {
                return std::optional<Plain>();
            }
            return std::optional<Plain>(Plain{std::string(stored), true});
        }
        if (!stored.starts_with(transformer.prefix)) {
            continue;
        }
        auto plain = transformer.cipher->open(stored.substr(transformer.prefix.size()), context);
        if (!plain) {
            return plain.error().with_context(
                transformer.prefix.substr(kEncrypted.size(), transformer.prefix.size() -
                                                                 kEncrypted.size() - 1));
        }
        return std::optional<Plain>(Plain{std::move(*plain), i != 0});
    }
    return make_error(Code::kDataLoss, "no matching prefix found");
}

}  // namespace sluice::store
