# The program, of the rooms that have a command.
baton_program(baton-plan SOURCE baton_plan.c DEPS baton_base baton_plan_profile baton_plan_measure
    baton_plan_replay baton_plan_search baton_plan_distserve)
