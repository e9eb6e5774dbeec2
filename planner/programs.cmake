# The program, of the rooms that have a command.
set(plan_rooms "")
foreach(room profile measure replay search distserve)
    if(TARGET baton_plan_${room})
        list(APPEND plan_rooms baton_plan_${room})
    endif()
endforeach()
baton_program(baton-plan SOURCE baton_plan.c DEPS baton_base ${plan_rooms})
