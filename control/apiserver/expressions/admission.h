// Expressions of admission (policies, match conditions of webhooks): which variables they may name, of which types, and
// why one is refused, in Kubernetes' words.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "api/base/result.h"
#include "control/cel/environment.h"
#include "control/cel/program.h"
#include "control/cel/type.h"

namespace sluice::expressions {

inline constexpr char kObject[] = "object";
inline constexpr char kOldObject[] = "oldObject";
inline constexpr char kParams[] = "params";
inline constexpr char kRequest[] = "request";
inline constexpr char kNamespaceObject[] = "namespaceObject";
inline constexpr char kAuthorizer[] = "authorizer";
inline constexpr char kRequestResource[] = "authorizer.requestResource";
inline constexpr char kVariables[] = "variables";

// Longer messages are not shown, nor are longer values of audit annotations (cut off).
inline constexpr std::size_t kMaxMessageBytes = 5U * 1024U;
inline constexpr std::size_t kMaxAnnotationBytes = 10U * 1024U;

// The types of the variables request and namespaceObject.
[[nodiscard]] const cel::Type& request_type();
[[nodiscard]] const cel::Type& namespace_type();

// What an expression has to give.
enum class Gives { kAnything, kBool, kString, kStringOrNull };

// What is declared besides request, namespaceObject, object and oldObject.
struct Declarations {
    bool params = false;
    bool variables = false;  // the expressions that add_variable adds, as variables.NAME
    // dyn where a policy is for objects of any kind.
    cel::Type object = {};
    cel::Type params_type = {};
};

// Compiles the expressions of one policy, or of one webhook. Not thread-safe, the programs are.
class Compiler {
public:
    explicit Compiler(const Declarations& declared);

    // kInvalidArgument: "compilation failed: ERROR: <input>:1:1: ...", "must evaluate to bool but got int".
    Result<cel::Program> compile(std::string_view expression, Gives gives) const;
    // The same without a variable authorizer, as messages have it.
    Result<cel::Program> compile_message(std::string_view expression) const;
    // As above; expressions compiled from now on see it, those of other variables too. One that cannot be compiled may
    // be named, and is of any type. REQUIRES: Declarations::variables.
    Result<cel::Program> add_variable(const std::string& name, std::string_view expression);

private:
    Result<cel::Program> compile_in(const cel::Environment& environment, std::string_view expression,
                                    Gives gives) const;

    class VariablesType;
    const std::shared_ptr<VariablesType> variables_;  // null: none are declared
    const cel::Environment base_;                     // without authorizer
    const cel::Environment full_;
};

}  // namespace sluice::expressions
