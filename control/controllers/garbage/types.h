// What the garbage collector knows of objects, and what it asks of the API server.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "api/base/result.h"

namespace sluice::controllers::garbage {

inline constexpr char kForegroundFinalizer[] = "foregroundDeletion";
inline constexpr char kOrphanFinalizer[] = "orphan";

struct Coordinates {
    std::string api_version;
    std::string kind;
    std::string namespace_name;
    std::string name;
    auto operator<=>(const Coordinates&) const = default;
    // "apps/v1 Deployment default/web".
    [[nodiscard]] std::string to_string() const;
};

struct Owner {
    std::string api_version;
    std::string kind;
    std::string name;
    std::string uid;
    bool blocks = false;  // blockOwnerDeletion
    auto operator<=>(const Owner&) const = default;
};

// An object's metadata, as far as it matters here.
struct Facts {
    Coordinates where;
    std::string uid;
    std::string resource_version;
    std::vector<Owner> owners;
    bool deleting = false;
    bool foreground = false;  // has the finalizer foregroundDeletion
    bool orphan = false;      // has the finalizer orphan
};

enum class Policy { kBackground, kForeground, kOrphan };

// The API server, or a stand-in. Blocks. kNotFound is an answer, other errors make the collector
// try again later.
class ObjectApi {
public:
    virtual ~ObjectApi() = default;
    // Whether the kind is namespaced; nullopt: there is no such kind, and its objects cannot be
    // looked for.
    [[nodiscard]] virtual std::optional<bool> is_namespaced(const std::string& api_version,
                                                            const std::string& kind) const = 0;
    // As it now is; nullopt: there is none.
    virtual Result<std::optional<Facts>> get(const Coordinates& where) = 0;
    // Deletes the object if it still is the one given and in the same version. Gone already is a
    // success; a changed one is kAborted.
    virtual Result<void> remove(const Facts& object, Policy policy) = 0;
    // Takes owner references away, by the owners' uids. kNotFound: the object is gone.
    virtual Result<void> drop_owners(const Facts& object, const std::vector<std::string>& uids) = 0;
    // Sets blockOwnerDeletion to false in all owner references.
    virtual Result<void> unblock_owners(const Facts& object) = 0;
    virtual Result<void> drop_finalizer(const Facts& object, const std::string& finalizer) = 0;
    // Tells people about an owner reference that points into another namespace.
    virtual void report_invalid_owner(const Facts& object, const Owner& owner) = 0;
};

}  // namespace sluice::controllers::garbage
