// The kinds that CustomResourceDefinitions make, as the rest of the API server sees them.
//
//   definitions.cc --replace--> CustomKinds: one immutable snapshot --find--> Call, watches (shared_ptr)
//
// A kind lives as long as somebody holds it; see docs/adr/0014.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "api/base/result.h"
#include "api/codec/scheme.h"
#include "control/apiserver/registry/strategies/strategy.h"

namespace k8s::io::apiextensions_apiserver::pkg::apis::apiextensions::v1 {
class CustomResourceDefinition;
}

namespace sluice::registry {

// Versions of definitions that are served at once; a definition beyond it is not established.
inline constexpr std::size_t kMaxCustomKinds = 10'000;

class ConversionHooks;
class Converter;

// What a kind of the registry has beyond codec::CustomForm: KindInfo::custom of every custom kind is one.
class StoredForm : public codec::CustomForm {
public:
    // Who brings objects from one version to another; null: they differ in nothing but their apiVersion.
    [[nodiscard]] virtual const Converter* converter() const = 0;
};
// Null for kinds that no webhook converts. What reads or writes objects of others may have to wait for one.
[[nodiscard]] inline const Converter* converter_of(const codec::KindInfo& kind) {
    return kind.custom == nullptr ? nullptr : static_cast<const StoredForm*>(kind.custom)->converter();
}

// One version of one definition. Immutable; thread-safe.
class CustomKind {
public:
    // version: an index into spec.versions. kInvalidArgument when its schema cannot be compiled, which validation
    // excludes for everything that was ever accepted. converter: of a definition with the strategy Webhook; gets to
    // know the version's schema.
    static Result<std::shared_ptr<const CustomKind>> make(
        const ::k8s::io::apiextensions_apiserver::pkg::apis::apiextensions::v1::
            CustomResourceDefinition& definition,
        int version, const std::shared_ptr<Converter>& converter = nullptr);
    virtual ~CustomKind() = default;

    [[nodiscard]] virtual const codec::KindInfo& kind() const = 0;
    [[nodiscard]] virtual const Strategy& strategy() const = 0;
    [[nodiscard]] virtual bool served() const = 0;
    [[nodiscard]] virtual bool storage() const = 0;
    // The definition's name, and its openAPIV3Schema as JSON text.
    [[nodiscard]] virtual const std::string& definition() const = 0;
    [[nodiscard]] virtual const std::string& schema_json() const = 0;
    // What clients of a deprecated version are told; empty: it is not deprecated.
    [[nodiscard]] virtual const std::string& deprecation() const = 0;
};
using CustomKindPtr = std::shared_ptr<const CustomKind>;

// All kinds at one moment. Immutable.
struct CustomSnapshot {
    std::vector<CustomKindPtr> kinds;  // by group, name of the definition, and preference of the version
    std::map<std::string, CustomKindPtr, std::less<>> served;  // by "group/version/resource"
    std::uint64_t generation = 0;                              // one more for each change
};

// Thread-safe.
class CustomKinds {
public:
    // forget: called with each kind that nobody holds any more, before it is freed; drops decoded objects of the kind.
    explicit CustomKinds(std::function<void(const codec::KindInfo&)> forget);
    ~CustomKinds();

    [[nodiscard]] std::shared_ptr<const CustomSnapshot> snapshot() const;
    // Null when no such kind is served. A lock held for the copy of one pointer, and a look into a map.
    [[nodiscard]] CustomKindPtr find(std::string_view group, std::string_view version,
                                     std::string_view resource) const;
    [[nodiscard]] bool serves(std::string_view group, std::string_view version) const;

    void replace(std::vector<CustomKindPtr> kinds);
    // Called now and after each replace, one call at a time; takes the place of an earlier one.
    void on_change(std::function<void(const CustomSnapshot&)> listener);
    // Who calls conversion webhooks; null until there is somebody. Before the first replace().
    void set_hooks(std::unique_ptr<ConversionHooks> hooks);
    [[nodiscard]] ConversionHooks* hooks() const { return hooks_.get(); }
    // Kinds that are no longer served and still held by calls and watches.
    [[nodiscard]] std::size_t retired() const;

private:
    void reclaim();

    const std::function<void(const codec::KindInfo&)> forget_;
    std::mutex listener_mutex_;
    std::function<void(const CustomSnapshot&)> listener_;  // under listener_mutex_
    mutable std::mutex mutex_;
    std::shared_ptr<const CustomSnapshot> snapshot_;
    std::vector<CustomKindPtr> retired_;
    std::unique_ptr<ConversionHooks> hooks_;  // its threads end before the kinds go
};

// v2 before v1 before v1beta1 before anything else by name, as Kubernetes prefers versions.
[[nodiscard]] bool preferred_before(std::string_view a, std::string_view b);

}  // namespace sluice::registry
