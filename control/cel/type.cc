// Nodes of types, and how they are written.
#include "control/cel/type.h"

#include <array>

#include "api/base/result.h"

namespace sluice::cel {

struct TypeNode {
    Kind kind = Kind::kDyn;
    std::string name;
    std::vector<Type> parameters;
    std::size_t parts = 1;
    std::shared_ptr<const ListSemantics> semantics;
    std::shared_ptr<const ObjectType> object;
    std::optional<std::uint64_t> max_elements;
};

namespace {

constexpr std::string_view kOptionalName = "optional_type";

std::shared_ptr<TypeNode> make_node(Kind kind, std::string name, std::vector<Type> parameters = {}) {
    auto node = std::make_shared<TypeNode>();
    node->kind = kind;
    node->name = std::move(name);
    node->parameters = std::move(parameters);
    for (Type& parameter : node->parameters) {
        if (node->parts + parameter.parts() > kMaxTypeParts) parameter = Type::dyn();
        node->parts += parameter.parts();
    }
    return node;
}

class FixedObjectType final : public ObjectType {
public:
    FixedObjectType(std::string name, std::vector<std::pair<std::string, Type>> fields)
        : name_(std::move(name)), fields_(std::move(fields)) {}
    const std::string& name() const override { return name_; }
    std::optional<Type> field(std::string_view json_name) const override {
        for (const auto& [name, type] : fields_) {
            if (name == json_name) return type;
        }
        return std::nullopt;
    }

private:
    std::string name_;
    std::vector<std::pair<std::string, Type>> fields_;
};

}  // namespace

Type::Type() : Type(dyn()) {}
Type::Type(std::shared_ptr<const TypeNode> node) : node_(std::move(node)) {}

// The types without parameters are made once.
Type Type::dyn() {
    static const Type type(make_node(Kind::kDyn, "dyn"));
    return type;
}
Type Type::null() {
    static const Type type(make_node(Kind::kNull, "null_type"));
    return type;
}
Type Type::boolean() {
    static const Type type(make_node(Kind::kBool, "bool"));
    return type;
}
Type Type::integer() {
    static const Type type(make_node(Kind::kInt, "int"));
    return type;
}
Type Type::uinteger() {
    static const Type type(make_node(Kind::kUint, "uint"));
    return type;
}
Type Type::number() {
    static const Type type(make_node(Kind::kDouble, "double"));
    return type;
}
Type Type::string() {
    static const Type type(make_node(Kind::kString, "string"));
    return type;
}
Type Type::bytes() {
    static const Type type(make_node(Kind::kBytes, "bytes"));
    return type;
}
Type Type::timestamp() {
    static const Type type(make_node(Kind::kTimestamp, "google.protobuf.Timestamp"));
    return type;
}
Type Type::duration() {
    static const Type type(make_node(Kind::kDuration, "google.protobuf.Duration"));
    return type;
}
Type Type::error() {
    static const Type type(make_node(Kind::kError, "!error!"));
    return type;
}

Type Type::list(Type element, std::shared_ptr<const ListSemantics> semantics) {
    auto node = make_node(Kind::kList, "list", {std::move(element)});
    node->semantics = std::move(semantics);
    return Type(std::move(node));
}

Type Type::map(Type key, Type value) {
    return Type(make_node(Kind::kMap, "map", {std::move(key), std::move(value)}));
}

Type Type::object(std::shared_ptr<const ObjectType> type) {
    auto node = std::make_shared<TypeNode>();
    node->kind = Kind::kObject;
    node->name = type->name();
    node->object = std::move(type);
    return Type(std::move(node));
}

Type Type::opaque(std::string name, std::vector<Type> parameters) {
    return Type(make_node(Kind::kOpaque, std::move(name), std::move(parameters)));
}

Type Type::optional(Type of) { return opaque(std::string(kOptionalName), {std::move(of)}); }

Type Type::type(Type of) { return Type(make_node(Kind::kType, "type", {std::move(of)})); }

Type Type::param(std::string name) { return Type(make_node(Kind::kParam, std::move(name))); }

std::size_t Type::parts() const { return node_->parts; }
Kind Type::kind() const { return node_->kind; }
const std::vector<Type>& Type::parameters() const { return node_->parameters; }

const Type& Type::element() const {
    SLUICE_ASSERT(node_->kind == Kind::kList);
    return node_->parameters[0];
}

const Type& Type::key() const {
    SLUICE_ASSERT(node_->kind == Kind::kMap);
    return node_->parameters[0];
}

const Type& Type::value() const {
    SLUICE_ASSERT(node_->kind == Kind::kMap);
    return node_->parameters[1];
}

bool Type::is_optional() const {
    return node_->kind == Kind::kOpaque && node_->name == kOptionalName;
}

const Type& Type::optional_of() const {
    SLUICE_ASSERT(is_optional() && node_->parameters.size() == 1);
    return node_->parameters[0];
}

const std::shared_ptr<const ListSemantics>& Type::semantics() const { return node_->semantics; }

const std::shared_ptr<const ObjectType>& Type::object_type() const {
    SLUICE_ASSERT(node_->kind == Kind::kObject);
    return node_->object;
}

const std::string& Type::name() const { return node_->name; }

std::string Type::to_string() const {
    // cel-go writes these as their names in the language, but for null.
    switch (node_->kind) {
        case Kind::kNull: return "null";
        case Kind::kTimestamp: return "timestamp";
        case Kind::kDuration: return "duration";
        default: break;
    }
    if (node_->parameters.empty()) return node_->name;
    std::string out = node_->name + "(";
    for (std::size_t i = 0; i < node_->parameters.size(); ++i) {
        if (i > 0) out += ", ";
        out += node_->parameters[i].to_string();
    }
    return out + ")";
}

Type Type::with_max_elements(std::uint64_t most) const {
    auto node = std::make_shared<TypeNode>(*node_);
    node->max_elements = most;
    return Type(std::move(node));
}

std::optional<std::uint64_t> Type::max_elements() const { return node_->max_elements; }

bool Type::operator==(const Type& other) const {
    return node_ == other.node_ ||
           (node_->kind == other.node_->kind && node_->name == other.node_->name &&
            node_->parameters == other.node_->parameters);
}

Type make_object_type(std::string name, std::vector<std::pair<std::string, Type>> fields) {
    return Type::object(std::make_shared<FixedObjectType>(std::move(name), std::move(fields)));
}

}  // namespace sluice::cel
