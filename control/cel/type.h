// Types of the Common Expression Language as Kubernetes embeds it: what a variable is declared as, and what a
// compiled expression gives.
//
// A Type is a handle to a shared immutable node: copying it copies a pointer. Aggregates carry how many elements they
// can have at most, which counts for the estimate of a program's cost and for nothing else: it is no part of a
// type's identity.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice::cel {

class Type;
struct TypeNode;

enum class Kind : std::uint8_t {
    kDyn,
    kNull,
    kBool,
    kInt,
    kUint,
    kDouble,
    kString,
    kBytes,
    kTimestamp,
    kDuration,
    kList,
    kMap,
    kObject,   // named, with declared fields
    kOpaque,   // named, known to a library only: net.IP, optional_type(T), ...
    kType,     // the type of a type
    kParam,    // A in "list(A)": a declaration of a function only
    kError,    // given after an error was reported, so that it is reported once
};

// What x-kubernetes-list-type says of a list: sets are equal in any order, sets and maps are merged by "+".
struct ListSemantics {
    enum class Merge : std::uint8_t { kAtomic, kSet, kMap };
    Merge merge = Merge::kAtomic;
    // Of a map: the names of the members that identify an element, as in JSON.
    std::vector<std::string> keys;
};

// The fields of an object's type, looked up when an expression names them, so that types may be recursive and
// made from a schema on demand. Implementations are immutable and thread-safe. Equal names are equal types.
class ObjectType {
public:
    virtual ~ObjectType() = default;
    // As "type(x)" and errors name it.
    [[nodiscard]] virtual const std::string& name() const = 0;
    // By the name in JSON, as expressions write it after unescaping (escape.h). Nullopt: there is no such field.
    [[nodiscard]] virtual std::optional<Type> field(std::string_view json_name) const = 0;
};

// Types that a type is made of, itself among them; beyond it a parameter is dyn, of which less is known. Expressions
// can make types that double with each step.
inline constexpr std::size_t kMaxTypeParts = 200;

class Type {
public:
    // dyn.
    Type();

    static Type dyn();
    static Type null();
    static Type boolean();
    static Type integer();
    static Type uinteger();
    static Type number();
    static Type string();
    static Type bytes();
    static Type timestamp();
    static Type duration();
    static Type error();
    static Type list(Type element, std::shared_ptr<const ListSemantics> semantics = nullptr);
    static Type map(Type key, Type value);
    static Type object(std::shared_ptr<const ObjectType> type);
    // name: such as "net.IP".
    static Type opaque(std::string name, std::vector<Type> parameters = {});
    static Type optional(Type of);
    // The type of a value that is a type itself.
    static Type type(Type of);
    static Type param(std::string name);

    [[nodiscard]] Kind kind() const;
    // The element of a list, or key and value of a map, or the parameters of an opaque type or of "type".
    [[nodiscard]] const std::vector<Type>& parameters() const;
    // REQUIRES: a list, a map, or an optional, respectively.
    [[nodiscard]] const Type& element() const;
    [[nodiscard]] const Type& key() const;
    [[nodiscard]] const Type& value() const;
    [[nodiscard]] bool is_optional() const;
    [[nodiscard]] const Type& optional_of() const;
    // Of a list, null: atomic.
    [[nodiscard]] const std::shared_ptr<const ListSemantics>& semantics() const;
    // REQUIRES: an object.
    [[nodiscard]] const std::shared_ptr<const ObjectType>& object_type() const;
    // Of an object, an opaque type or a parameter; else the name of the kind, such as "list".
    [[nodiscard]] const std::string& name() const;

    // At most kMaxTypeParts.
    [[nodiscard]] std::size_t parts() const;
    // As errors write it: "list(int)", "map(string, dyn)", "net.IP".
    [[nodiscard]] std::string to_string() const;
    // The same type; at most that many elements, entries, or bytes of a string.
    [[nodiscard]] Type with_max_elements(std::uint64_t most) const;
    [[nodiscard]] std::optional<std::uint64_t> max_elements() const;

    // By structure and names; what counts for costs and merging does not count.
    bool operator==(const Type& other) const;

private:
    explicit Type(std::shared_ptr<const TypeNode> node);
    std::shared_ptr<const TypeNode> node_;
};

// An object of fields known beforehand, named as in JSON.
[[nodiscard]] Type make_object_type(std::string name,
                                    std::vector<std::pair<std::string, Type>> fields);

}  // namespace sluice::cel
