/* Completion scripts. The scripts are the same three lines of glue in each shell: what there is to
 * complete, `compose __complete WORDS...` answers from the option tables and the project. */
#include <stdio.h>

#include "base/mem.h"
#include "cli/cli.h"
#include "cli/command.h"

static const char bash_script[] =
    "# bash completion for compose\n"
    "_compose()\n"
    "{\n"
    "    local IFS=$'\\n' cur=${COMP_WORDS[COMP_CWORD]}\n"
    "    COMPREPLY=($(\"${COMP_WORDS[0]}\" __complete : \"$cur\" "
    "\"${COMP_WORDS[@]:1:COMP_CWORD-1}\" "
    "2>/dev/null |\n"
    "        cut -f1))\n"
    "    case ${COMPREPLY[0]} in\n"
    "    @file) COMPREPLY=($(compgen -f -- \"$cur\")); compopt -o filenames ;;\n"
    "    @dir) COMPREPLY=($(compgen -d -- \"$cur\")); compopt -o filenames ;;\n"
    "    esac\n"
    "}\n"
    "complete -F _compose compose docker-compose\n";

static const char zsh_script[] = "#compdef compose docker-compose\n"
                                 "_compose()\n"
                                 "{\n"
                                 "    local -a answers\n"
                                 "    local name help\n"
                                 "    while IFS=$'\\t' read -r name help; do\n"
                                 "        case $name in\n"
                                 "        @file) _files; return ;;\n"
                                 "        @dir) _files -/; return ;;\n"
                                 "        esac\n"
                                 "        answers+=(\"${name//:/\\\\:}${help:+:$help}\")\n"
                                 "    done < <(\"${words[1]}\" __complete : \"${words[CURRENT]}\" "
                                 "\"${(@)words[2,CURRENT-1]}\" 2>/dev/null)\n"
                                 "    _describe -t compose compose answers\n"
                                 "}\n"
                                 "compdef _compose compose docker-compose\n";

static const char fish_script[] =
    "# fish completion for compose\n"
    "function __compose_complete\n"
    "    set -l words (commandline -opc)\n"
    "    set -l cur (commandline -ct)\n"
    "    for line in ($words[1] __complete : \"$cur\" $words[2..-1] 2>/dev/null)\n"
    "        switch $line\n"
    "            case '@file*' '@dir*'\n"
    "                __fish_complete_path \"$cur\"\n"
    "            case '*'\n"
    "                echo $line\n"
    "        end\n"
    "    end\n"
    "end\n"
    "complete -c compose -f -a '(__compose_complete)'\n"
    "complete -c docker-compose -f -a '(__compose_complete)'\n";

static int run(struct cli *cli, const struct args *args, struct err *err)
{
    static const struct {
        const char *shell, *script;
    } scripts[] = {{"bash", bash_script}, {"zsh", zsh_script}, {"fish", fish_script}};
    (void)cli;
    for (size_t i = 0; i < ARRAY_SIZE(scripts); i++) {
        if (streq(scripts[i].shell, args->positional[0])) {
            cli_out(scripts[i].script, strlen(scripts[i].script));
            return 0;
        }
    }
    return err_set(err, ERR_INVALID, "unknown shell \"%s\": want bash, zsh or fish",
                   args->positional[0]);
}

const struct command cmd_completion = {
    .name = "completion",
    .usage = "bash|zsh|fish",
    .summary = "Print the completion script of a shell",
    .details = "Print the completion script of a shell\n\n"
               "  bash: source <(compose completion bash)\n"
               "  zsh:  source <(compose completion zsh)\n"
               "  fish: compose completion fish | source",
    .args_min = 1,
    .args_max = 1,
    .wording = ARGS_DOCKER,
    .flags = COMMAND_OURS,
    .complete = "bash zsh fish",
    .run = run,
};
