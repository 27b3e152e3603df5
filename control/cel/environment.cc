// The compiler.
#include "control/cel/environment.h"

#include "api/codec/json_text.h"
#include "control/cel/checker_private.h"
#include "control/cel/parser_private.h"
#include "control/cel/program_private.h"

namespace sluice::cel {

namespace {

std::shared_ptr<const Environment::Data> make_data(std::vector<Variable> variables,
                                                   std::unordered_map<std::string, Type> types) {
    auto data = std::make_shared<Environment::Data>();
    data->types = std::move(types);
    for (Variable& variable : variables) {
        const auto index = static_cast<int>(data->variables.size());
        data->variable_index.insert_or_assign(variable.name, index);
        data->variables.push_back(std::move(variable));
    }
    return data;
}

// Which argument of a call is a regular expression; -1: none is.
int pattern_argument(const Expr& call) {
    if (call.args.size() < 2 || call.overloads.empty()) return -1;
    return call.name == "matches" || call.name == "find" || call.name == "findAll" ? 1 : -1;
}

// Patterns that are constants are compiled once.
void compile_patterns(Expr* expr, std::vector<Regex>* regexes) {
    for (const ExprPtr& arg : expr->args) compile_patterns(arg.get(), regexes);
    if (expr->loop != nullptr) {
        for (ExprPtr* part : {&expr->loop->range, &expr->loop->init, &expr->loop->condition,
                              &expr->loop->step, &expr->loop->result}) {
            compile_patterns(part->get(), regexes);
        }
    }
    const int argument = expr->node == Node::kCall ? pattern_argument(*expr) : -1;
    if (argument < 0) return;
    const Expr& pattern = *expr->args[static_cast<std::size_t>(argument)];
    if (pattern.node != Node::kLiteral || pattern.literal.as_string() == nullptr) return;
    if (auto regex = compile_regex(pattern.literal.as_string()->view())) {
        expr->regex = static_cast<int>(regexes->size());
        regexes->push_back(std::move(*regex));
    }
}

}  // namespace

Environment::Environment(std::vector<Variable> variables, std::vector<Type> types) {
    std::unordered_map<std::string, Type> named;
    for (Type& type : types) named.insert_or_assign(type.name(), std::move(type));
    data_ = make_data(std::move(variables), std::move(named));
}

Environment Environment::extended(std::vector<Variable> variables) const {
    std::vector<Variable> all = data_->variables;
    all.insert(all.end(), std::make_move_iterator(variables.begin()),
               std::make_move_iterator(variables.end()));
    Environment out{std::vector<Variable>()};
    out.data_ = make_data(std::move(all), data_->types);
    return out;
}

Result<Program> Environment::compile(std::string_view expression,
                                     std::vector<Issue>* issues) const {
    auto program = std::make_shared<Program::Data>();
    program->text = std::string(expression);
    Issues found(program->text);
    if (!codec::is_utf8(expression)) {
        found.add_general("Syntax error: the expression is not UTF-8");
    } else {
        program->root = parse(program->text, &found);
        if (found.empty() && program->root != nullptr) {
            program->locals = check(program->root.get(), *data_, &found);
        }
        if (found.empty()) check_literals(*program->root, &found);
    }
    if (!found.empty()) {
        found.sort();
        if (issues != nullptr) *issues = found.all();
        return make_error(Code::kInvalidArgument, "{}", found.to_string());
    }
    for (const Variable& variable : data_->variables) {
        program->variables.push_back(variable.name);
        program->variable_types.push_back(variable.type);
    }
    compile_patterns(program->root.get(), &program->regexes);
    program->estimate = estimate_cost(*program);
    return Program(std::move(program));
}

}  // namespace sluice::cel
