// Pruning, defaults, and the metadata of embedded objects.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json/value.hpp>

#include "api/codec/json.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/custom/values_private.h"

namespace sluice::registry {

namespace json = boost::json;

namespace {

bool is_type_or_metadata(std::string_view name) {
    return name == "apiVersion" || name == "kind" || name == "metadata";
}

std::string_view key_of(const json::key_value_pair& member) {
    return {member.key().data(), member.key().size()};
}

std::string below(const std::string& path, std::string_view name) {
    return path.empty() ? std::string(name) : fmt::format("{}.{}", path, name);
}

class Pruner {
public:
    explicit Pruner(std::vector<std::string>* unknown) : unknown_(unknown) {}

    // schema: null for a value of which nothing is known.
    // NOLINTNEXTLINE(misc-no-recursion)
    void prune(json::value* value, const Schema* schema, bool embedded, const std::string& path) {
        if (schema != nullptr && schema->preserve_unknown) {
            return keep(value, *schema, embedded, path);
        }
        if (auto* object = value->if_object()) {
            std::vector<std::string> gone;
            for (auto& member : *object) {
                const std::string_view name = key_of(member);
                if (schema != nullptr && embedded && is_type_or_metadata(name)) continue;
                const Schema* known = nullptr;
                if (!known_member(schema, name, &known)) {
                    gone.emplace_back(name);
                    continue;
                }
                prune(&member.value(), known, known != nullptr && known->embedded,
                      below(path, name));
            }
            for (const std::string& name : gone) {
                if (unknown_ != nullptr) unknown_->push_back(below(path, name));
                object->erase(name);
            }
        } else if (auto* array = value->if_array()) {
            const Schema* items = schema == nullptr ? nullptr : schema->items.get();
            for (std::size_t i = 0; i < array->size(); ++i) {
                prune(&(*array)[i], items, items != nullptr && items->embedded,
                      fmt::format("{}[{}]", path, i));
            }
        }
    }

private:
    // Whether the member may stay; *out is what is known of it.
    static bool known_member(const Schema* schema, std::string_view name, const Schema** out) {
        if (schema == nullptr) return false;
        *out = schema->property(name);
        if (*out != nullptr) return true;
        *out = schema->additional_schema.get();
        return schema->additional != Schema::Additional::kAbsent;
    }

    // Unknown members stay, but below known ones the schema holds again.
    // NOLINTNEXTLINE(misc-no-recursion)
    void keep(json::value* value, const Schema& schema, bool embedded, const std::string& path) {
        if (auto* object = value->if_object()) {
            for (auto& member : *object) {
                const std::string_view name = key_of(member);
                if (embedded && is_type_or_metadata(name)) continue;
                const Schema* known = nullptr;
                if (!known_member(&schema, name, &known)) continue;
                prune(&member.value(), known, known != nullptr && known->embedded,
                      below(path, name));
            }
        } else if (auto* array = value->if_array()) {
            if (schema.items == nullptr) return;
            for (std::size_t i = 0; i < array->size(); ++i) {
                keep(&(*array)[i], *schema.items, schema.items->embedded,
                     fmt::format("{}[{}]", path, i));
            }
        }
    }

    std::vector<std::string>* unknown_;
};

bool unwanted_null(const json::value& value, const Schema* schema) {
    return value.is_null() && schema != nullptr && !schema->nullable;
}

// A null that its schema does not allow and that no default replaces counts as absent.
// NOLINTNEXTLINE(misc-no-recursion)
void drop_nulls(json::value* value, const Schema& schema) {
    if (auto* object = value->if_object()) {
        std::vector<std::string> gone;
        for (auto& member : *object) {
            const Schema* known = schema.property(key_of(member));
            if (known == nullptr) known = schema.additional_schema.get();
            if (known == nullptr) continue;
            if (unwanted_null(member.value(), known) && !known->fallback) {
                gone.emplace_back(key_of(member));
            } else {
                drop_nulls(&member.value(), *known);
            }
        }
        for (const std::string& name : gone) object->erase(name);
    } else if (auto* array = value->if_array()) {
        if (schema.items == nullptr) return;
        for (auto& item : *array) drop_nulls(&item, *schema.items);
    }
}

// NOLINTNEXTLINE(misc-no-recursion)
void fill(json::value* value, const Schema& schema) {
    if (auto* object = value->if_object()) {
        for (const auto& [name, property] : schema.properties) {
            if (!property.fallback) continue;
            const json::value* present = object->if_contains(name);
            if (present == nullptr || unwanted_null(*present, &property)) {
                (*object)[name] = *property.fallback;
            }
        }
        for (auto& member : *object) {
            const Schema* known = schema.property(key_of(member));
            if (known == nullptr) known = schema.additional_schema.get();
            if (known == nullptr) continue;
            if (unwanted_null(member.value(), known) && known->fallback) {
                member.value() = *known->fallback;
            }
            fill(&member.value(), *known);
        }
    } else if (auto* array = value->if_array()) {
        if (schema.items == nullptr) return;
        for (auto& item : *array) {
            if (unwanted_null(item, schema.items.get()) && schema.items->fallback) {
                item = *schema.items->fallback;
            }
            fill(&item, *schema.items);
        }
    }
}

void coerce_metadata(json::value* metadata, const std::string& path,
                     std::vector<std::string>* unknown) {
    if (!metadata->is_object()) return;
    codec::metav1::ObjectMeta meta;
    codec::FieldWarnings warnings;
    if (!codec::from_json_value(*metadata, &meta, &warnings)) return;
    json::value clean = codec::to_json_value(meta);
    // Go writes the zero time; an embedded object did not have it.
    if (!metadata->get_object().contains("creationTimestamp") && clean.is_object()) {
        clean.get_object().erase("creationTimestamp");
    }
    *metadata = std::move(clean);
    if (unknown == nullptr) return;
    constexpr std::string_view kPrefix = "unknown field \"";
    for (const std::string& warning : warnings) {
        if (!warning.starts_with(kPrefix)) continue;
        unknown->push_back(
            below(path, warning.substr(kPrefix.size(), warning.size() - kPrefix.size() - 1)));
    }
}

// NOLINTNEXTLINE(misc-no-recursion)
void coerce(json::value* value, const Schema& schema, const std::string& path,
            std::vector<std::string>* unknown) {
    if (auto* object = value->if_object()) {
        for (auto& member : *object) {
            const std::string_view name = key_of(member);
            if (schema.embedded && name == "metadata") {
                coerce_metadata(&member.value(), below(path, name), unknown);
                continue;
            }
            const Schema* known = schema.property(name);
            if (known == nullptr) known = schema.additional_schema.get();
            if (known != nullptr) coerce(&member.value(), *known, below(path, name), unknown);
        }
    } else if (auto* array = value->if_array()) {
        if (schema.items == nullptr) return;
        for (std::size_t i = 0; i < array->size(); ++i) {
            coerce(&(*array)[i], *schema.items, fmt::format("{}[{}]", path, i), unknown);
        }
    }
}

}  // namespace

void prune(json::value* value, const Schema& schema, bool is_root,
           std::vector<std::string>* unknown) {
    Pruner(unknown).prune(value, &schema, is_root || schema.embedded, "");
    if (unknown != nullptr) std::sort(unknown->begin(), unknown->end());
}

void set_defaults(json::value* value, const Schema& schema) {
    drop_nulls(value, schema);
    fill(value, schema);
}

void coerce_embedded(json::value* value, const Schema& schema, std::vector<std::string>* unknown) {
    coerce(value, schema, "", unknown);
}

}  // namespace sluice::registry
