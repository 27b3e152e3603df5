// What is particular to one kind: defaults, what a client may set, validation, deletion, table columns and the fields
// that selectors may name. The generic verbs (rest/) call it and know no kind.
//
// Adding a kind: a class derived from TypedStrategy, and one line in strategies.cc.
// Strategies are immutable after construction and thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "api/codec/scheme.h"
#include "control/http/server.h"
#include "control/store/store.h"
#include "control/apiserver/registry/rest/status_error.h"
#include "control/apiserver/registry/validation/field_errors.h"
#include "control/apiserver/registry/validation/names.h"

namespace sluice::registry {

using Message = google::protobuf::Message;

// Scarce values (addresses, ports) taken for a write that has not happened yet. commit() once it is durable: what the
// object no longer uses is given back. rollback(), or destruction without commit: what was newly taken is given back.
// Only the first of the two calls counts.
class Reservation {
public:
    virtual ~Reservation() = default;
    virtual void commit() = 0;
    virtual void rollback() = 0;
    // What is written together with the object, so that no other server on the same store takes the same values.
    // Once, before the write.
    [[nodiscard]] virtual std::vector<store::Companion> claims() { return {}; }
};

// One column of kubectl's table.
struct Column {
    std::string_view name;
    std::string_view type;    // "string", "integer", "boolean"
    std::string_view format;  // "name" or empty
    std::string_view description;
    int priority = 0;  // above 0: shown by -o wide only
};
using Cell = std::variant<std::nullptr_t, std::string, std::int64_t, bool, double>;

// How an object goes away, decided before the generic finalizer rules.
struct DeletionTerms {
    std::int64_t grace_seconds = 0;
    bool lingers = false;  // stays with a deletionTimestamp although it has no finalizers and no grace
};

// What the subresource scale shows of a workload.
struct ScaleView {
    std::int32_t replicas = 0;
    std::int32_t status_replicas = 0;
    std::string selector;  // as a label selector is written in a query
};

class Strategy {
public:
    explicit Strategy(const codec::KindInfo& kind) : kind_(kind) {}
    virtual ~Strategy() = default;
    Strategy(const Strategy&) = delete;
    Strategy& operator=(const Strategy&) = delete;

    [[nodiscard]] const codec::KindInfo& kind() const { return kind_; }
    // The store's prefix without a closing slash, where Kubernetes keeps the kind in etcd.
    [[nodiscard]] virtual std::string storage_prefix() const;
    // The Go type's package as the "unknown conversion" answer names it.
    [[nodiscard]] virtual std::string_view go_package() const;

    // Brings an object as a client wrote it into the kind's form, before defaults; what the kind
    // does not know goes, and is named in *unknown as `unknown field "spec.x"`. Only custom kinds
    // have anything to do: others are decoded so.
    virtual void settle_body(Message* object, std::vector<std::string>* unknown) const;
    // What Kubernetes fills into any object it reads; idempotent.
    virtual void set_defaults(Message* object) const;
    // Who asks for a creation, for the kinds that record it. Overwrites what the client said about it.
    virtual void set_requester(Message* object, const http::Identity& identity) const;
    // What admission adds or refuses, before preparation; old: null at creation.
    virtual Answer<void> admit(Message* object, const Message* old) const;
    // Drops what a client may not set, sets what the server owns.
    virtual void prepare_for_create(Message* object) const;
    virtual void prepare_for_update(Message* object, const Message& old) const;
    virtual void prepare_for_status_update(Message* object, const Message& old) const;
    // The part of its own that a kind may have: the approval of a CertificateSigningRequest, the ephemeral
    // containers of a Pod.
    virtual void prepare_for_approval(Message* object, const Message& old) const;
    virtual void validate(const Message& object, FieldErrors* errors) const;
    virtual void validate_update(const Message& object, const Message& old,
                                 FieldErrors* errors) const;
    virtual void validate_status_update(const Message& object, const Message& old,
                                        FieldErrors* errors) const;
    virtual void validate_approval(const Message& object, const Message& old,
                                   FieldErrors* errors) const;
    // After validation: takes scarce values and writes them into *object. old: null at creation.
    virtual Answer<std::shared_ptr<Reservation>> reserve(Message* object, const Message* old) const;
    // What a deleted object gives back on commit.
    [[nodiscard]] virtual std::shared_ptr<Reservation> release(const Message& old) const;

    [[nodiscard]] virtual bool allow_create_on_update() const { return false; }
    [[nodiscard]] virtual bool allow_unconditional_update() const { return true; }
    // DELETE answers with the object rather than a Status.
    [[nodiscard]] virtual bool returns_deleted_object() const { return false; }
    [[nodiscard]] virtual NameCheck name_check() const { return check_dns1123_subdomain; }

    // A deletion that names no policy leaves the dependents alone, instead of taking them along.
    [[nodiscard]] virtual bool orphans_by_default() const { return false; }
    // A warning for a deletion that names no policy; empty: none.
    [[nodiscard]] virtual std::string_view deletion_warning() const { return {}; }

    // nullopt: the kind cannot be scaled.
    [[nodiscard]] virtual std::optional<ScaleView> scale_of(const Message& object) const;
    virtual void set_replicas(Message* object, std::int32_t replicas) const;

    // 403 and the like for objects that must stay.
    virtual Answer<void> check_deletion(const Message& object) const;
    [[nodiscard]] virtual DeletionTerms deletion_terms(const Message& object,
                                                       std::optional<std::int64_t> grace) const;
    // Called when the object gets its deletionTimestamp.
    virtual void mark_deleted(Message* object) const;

    [[nodiscard]] virtual std::span<const Column> columns() const;
    [[nodiscard]] virtual std::vector<Cell> row(const Message& object) const;

    // Fields that a field selector may name; metadata.name and metadata.namespace are common to all.
    [[nodiscard]] virtual std::span<const std::string_view> selectable_fields() const { return {}; }
    [[nodiscard]] virtual std::string field_value(const Message& object,
                                                  std::string_view field) const;
    // The answer for a field that may not be named.
    [[nodiscard]] std::string unknown_field_message(std::string_view field) const;

protected:
    // Copies the top-level field (such as status) from `from` to *to; clears it when unset there.
    static void copy_field(const Message& from, Message* to, const char* field);
    static void clear_field(Message* object, const char* field);
    [[nodiscard]] static bool equal(const Message& a, const Message& b);
    // Whether the top-level field is the same in both.
    [[nodiscard]] static bool same_field(const Message& a, const Message& b, const char* field);
    // Whether the top-level message field would be stored as the same bytes; unset and zero differ here.
    // REQUIRES: both objects in their normal form.
    [[nodiscard]] static bool same_stored_field(const Message& a, const Message& b,
                                                const char* field);
    // Generation 1 at creation, and one more whenever the spec changes.
    static void start_generation(Message* object);
    static void count_generation(Message* object, const Message& old);

private:
    const codec::KindInfo& kind_;
};

// The same interface on the kind's own type. `T` is complete in the .cc file that derives.
template <class T>
class TypedStrategy : public Strategy {
public:
    using Strategy::Strategy;

    void set_defaults(Message* object) const final { defaults(static_cast<T*>(object)); }
    void prepare_for_create(Message* object) const final { prepare_create(static_cast<T*>(object)); }
    void prepare_for_update(Message* object, const Message& old) const final {
        prepare_update(static_cast<T*>(object), static_cast<const T&>(old));
    }
    void validate(const Message& object, FieldErrors* errors) const final {
        check(static_cast<const T&>(object), errors);
    }
    void validate_update(const Message& object, const Message& old,
                         FieldErrors* errors) const final {
        Strategy::validate_update(object, old, errors);
        check_update(static_cast<const T&>(object), static_cast<const T&>(old), errors);
    }
    [[nodiscard]] std::vector<Cell> row(const Message& object) const final {
        return cells(static_cast<const T&>(object));
    }
    [[nodiscard]] std::string field_value(const Message& object,
                                          std::string_view field) const final {
        const std::string common = Strategy::field_value(object, field);
        return common.empty() ? field_of(static_cast<const T&>(object), field) : common;
    }

protected:
    virtual void defaults(T* object) const { (void)object; }
    virtual void prepare_create(T* object) const { Strategy::prepare_for_create(object); }
    virtual void prepare_update(T* object, const T& old) const {
        Strategy::prepare_for_update(object, old);
    }
    // Everything about one object, metadata included.
    virtual void check(const T& object, FieldErrors* errors) const {
        Strategy::validate(object, errors);
    }
    // What differs from the old object; metadata is already checked.
    virtual void check_update(const T& object, const T& old, FieldErrors* errors) const {
        (void)old;
        check(object, errors);
    }
    [[nodiscard]] virtual std::vector<Cell> cells(const T& object) const {
        return Strategy::row(object);
    }
    [[nodiscard]] virtual std::string field_of(const T& object, std::string_view field) const {
        (void)object;
        (void)field;
        return {};
    }
};

}  // namespace sluice::registry
